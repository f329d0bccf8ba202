"""What holds for every route: keys, scopes, problems, headers, the description."""

import io
import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import text

from redflag_dashboard.app import OPEN_PATHS, ROUTES
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.route import Scope
from tests.integration.dashboard.running_api import Api

SAMPLE = {
    "host": "web-04", "command": str(UUID(int=7)), "digest": "sha256:" + "0" * 64, "job": str(UUID(int=8)),
    "group": "web", "key": "limits.agent_commands_burst", "subsystem": "apt",
}  # fmt: skip
HEADERS = (
    "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy",
    "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Strict-Transport-Security",
)  # fmt: skip


def problem_of(answer: aiohttp.ClientResponse, body: dict[str, Any], code: str) -> None:
    assert answer.content_type == "application/problem+json"
    assert body["code"] == code
    assert body["type"] == f"urn:redflag:problem:{code}"
    assert body["status"] == answer.status
    assert body["title"]
    assert body["detail"]
    assert body["correlation_id"] == answer.headers["RF-Correlation-Id"]


async def test_every_route_but_the_open_ones_needs_a_key(api: Api) -> None:
    walked = set()
    for route in ROUTES:
        path = route.template.format(**SAMPLE)
        for headers in ({}, {"Authorization": "Bearer rfk_wrong"}, {"Authorization": "Basic YTpi"}):
            async with api.raw(route.method, path, key=None, headers=headers) as answer:
                if PREFIX + route.template in OPEN_PATHS:
                    assert answer.status == 200
                    continue
                walked.add(route.name)
                assert answer.status == 401, route.name
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                problem_of(answer, await answer.json(content_type=None), "unauthenticated")
    assert len(walked) == len(ROUTES) - 1


async def test_no_route_is_served_that_is_not_declared(api: Api) -> None:
    described = await api.call("GET", "/openapi.json", key=None)
    declared = {(PREFIX + route.template, route.method.lower()) for route in ROUTES}
    assert {(path, method) for path, one in described["paths"].items() for method in one} == declared


async def test_a_key_reaches_only_its_scope(api: Api) -> None:
    for route in ROUTES:
        if route.scope in (None, Scope.READ):
            continue
        lower = "read" if route.scope is Scope.WRITE else "write"
        async with api.raw(route.method, route.template.format(**SAMPLE), key=lower, body={}) as answer:
            assert answer.status == 403, route.name
            problem_of(answer, await answer.json(content_type=None), "scope_missing")


async def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    await api.call("GET", "/hosts", key="read")
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE api_key SET revoked_at = now()"))
    await api.call("GET", "/hosts", key="read", expect=401)


async def test_the_use_of_a_key_is_noted_but_not_on_every_call(api: Api) -> None:
    async def last_used() -> Any:
        async with api.owner() as session:
            return await session.scalar(text("SELECT last_used_at FROM api_key WHERE name = 'read'"))

    assert await last_used() is None
    await api.call("GET", "/hosts", key="read")
    first = await last_used()
    assert first is not None
    await api.call("GET", "/hosts", key="read")
    assert await last_used() == first


async def test_the_description_is_valid_openapi(api: Api) -> None:
    described = await api.call("GET", "/openapi.json", key=None)
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")
    ids = [one["operationId"] for path in described["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


async def test_security_headers_are_on_every_kind_of_answer(api: Api) -> None:
    for method, path, key in (
        ("GET", "/info", None), ("GET", "/hosts", "read"), ("GET", "/hosts", None), ("GET", "/nowhere", None),
        ("DELETE", "/hosts", None), ("POST", "/updates/approve", "write"),
    ):  # fmt: skip
        async with api.raw(method, path, key=key) as answer:
            assert all(name in answer.headers for name in HEADERS), (method, path)
            assert answer.headers["Cache-Control"] == "no-store"
            assert UUID(answer.headers["RF-Correlation-Id"]).version == 7
            assert answer.headers["Server"] == "redflag"


async def test_the_front_page_says_where_things_are_and_runs_nothing(api: Api) -> None:
    async with api.http.get(api.url + "/") as answer:
        text = await answer.text()
        assert answer.status == 200
        assert "<script" not in text
        assert "/api/v1/openapi.json" in text
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


async def test_a_correlation_id_given_is_kept_and_nonsense_is_replaced(api: Api) -> None:
    given = "0193e4a0-0000-7000-8000-000000000001"
    async with api.raw("GET", "/info", key=None, headers={"RF-Correlation-Id": given}) as answer:
        assert answer.headers["RF-Correlation-Id"] == given
    async with api.raw("GET", "/info", key=None, headers={"RF-Correlation-Id": "x" * 300}) as answer:
        assert UUID(answer.headers["RF-Correlation-Id"]).version == 7


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status", "code"),
    [
        ("GET", "/nowhere", b"", None, 404, "not_found"),
        ("DELETE", "/hosts", b"", None, 405, "method_not_allowed"),
        ("GET", "/hosts?limit=0", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?limit=x", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?nonsense=1", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?q=a&q=b", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?q=%00", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?cursor=%21", b"", None, 422, "invalid_request"),
        ("GET", "/hosts?cursor=WzEsMl0", b"", None, 422, "invalid_request"),
        ("GET", "/hosts", b"{}", "application/json", 400, "malformed_request"),
        ("GET", "/commands/not-a-uuid", b"", None, 422, "invalid_request"),
        ("GET", f"/commands/{UUID(int=7)}?wait=-1", b"", None, 422, "invalid_request"),
        ("GET", f"/commands/{UUID(int=7)}?wait=nan", b"", None, 422, "invalid_request"),
        ("GET", f"/commands/{UUID(int=7)}", b"", None, 404, "command_not_found"),
        ("GET", f"/commands/{UUID(int=7)}?wait=5", b"", None, 404, "command_not_found"),
        ("GET", "/plans/sha256:" + "0" * 64, b"", None, 404, "plan_not_found"),
        ("GET", "/hosts/nobody", b"", None, 404, "host_not_found"),
        ("GET", "/updates?host=nobody", b"", None, 404, "host_not_found"),
        ("POST", "/updates/approve", b"{", "application/json", 400, "malformed_json"),
        ("POST", "/updates/approve", b"", "application/json", 400, "malformed_json"),
        ("POST", "/updates/approve", b'{"host":"a","host":"b"}', "application/json", 400, "malformed_json"),
        ("POST", "/updates/approve", b"[" * 50_000, "application/json", 400, "malformed_json"),
        ("POST", "/updates/approve", b'\xff{"host":"a"}', "application/json", 400, "malformed_json"),
        ("POST", "/updates/approve", b'{"host":"a"}', "text/plain", 415, "unsupported_media_type"),
        ("POST", "/updates/approve", b"[]", "application/json", 422, "invalid_request"),
        ("POST", "/updates/approve", b'{"host":"a","all":"yes"}', "application/json", 422, "invalid_request"),
        (
            "POST",
            "/updates/approve",
            b'{"host":"a","all":true,"x":1}',
            "application/json",
            422,
            "invalid_request",
        ),
        ("POST", "/updates/approve", b'{"host":"a"}', "application/json", 422, "invalid_request"),
        ("POST", "/updates/approve", b'{"host":"a","all":true}', "application/json", 404, "host_not_found"),
        ("POST", "/hosts/a/scan", b'{"subsystem":"; rm"}', "application/json", 422, "invalid_request"),
        (
            "POST",
            "/updates/approve",
            b'"' + b"a" * 1_100_000 + b'"',
            "application/json",
            413,
            "body_too_large",
        ),
    ],
)
async def test_a_request_that_does_not_fit_gets_its_problem(  # noqa: PLR0917
    api: Api, method: str, path: str, body: bytes, content_type: str | None, status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {api.keys['admin']}"}
    if content_type:
        headers["Content-Type"] = content_type
    async with api.http.request(
        method, f"{api.url}/api/v1{path}", data=io.BytesIO(body) if body else None, headers=headers
    ) as answer:
        problem = json.loads(await answer.read())
        assert answer.status == status, problem
        problem_of(answer, problem, code)


async def test_what_does_not_fit_is_said_in_our_own_words(api: Api) -> None:
    problem = await api.call("POST", "/updates/approve", body={"host": "a"}, expect=422)
    assert problem["detail"] == "body: say one of packages, all and security"
    assert problem["errors"] == [{"where": "body", "message": "say one of packages, all and security"}]


async def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    async with api.raw("PUT", "/hosts") as answer:
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"]


async def test_requests_are_counted_by_template(api: Api) -> None:
    await api.call("GET", "/hosts/nobody", expect=404)
    await api.call("GET", "/nowhere", key=None, expect=404)
    count = api.registry.get_sample_value
    assert (
        count(
            "redflag_http_requests_total", {"method": "GET", "route": "/api/v1/hosts/{host}", "code": "404"}
        )
        == 1
    )
    assert count("redflag_http_requests_total", {"method": "GET", "route": "unmatched", "code": "404"}) == 1


async def test_an_unforeseen_error_says_nothing_of_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the database is swordfish")

    monkeypatch.setattr("redflag_dashboard.api.hosts.list_hosts", explode)
    async with api.raw("GET", "/hosts") as answer:
        problem = await answer.json(content_type=None)
        assert answer.status == 500
        problem_of(answer, problem, "internal")
        assert "swordfish" not in json.dumps(problem)
