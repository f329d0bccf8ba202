"""The parts of the glue that need no server."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from redflag_dashboard.app import OPEN_PATHS, ROUTES
from redflag_dashboard.models.groups import GroupRequest
from redflag_dashboard.models.tokens import TokenRequest
from redflag_dashboard.models.updates import PlanRequest
from redflag_dashboard.page import page, policy
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.binding import bind_body
from redflag_dashboard.rest.openapi import PREFIX, document
from redflag_dashboard.rest.problems import KINDS, ProblemCode, ProblemError
from redflag_dashboard.rest.route import Nothing, Scope, Strict, grants
from redflag_dashboard.settings import Settings


class Body(Strict):
    name: str
    count: int = 1
    at: datetime | None = None
    id: UUID | None = None


def test_every_problem_code_has_its_status_and_title() -> None:
    assert KINDS.keys() == set(ProblemCode)
    assert all(400 <= kind.status < 600 and kind.title for kind in KINDS.values())


def test_a_scope_holds_those_below_it() -> None:
    assert [grants(frozenset({"write"}), scope) for scope in Scope] == [True, True, False]
    assert not grants(frozenset({"root", "ADMIN"}), Scope.READ)
    assert not grants(frozenset(), Scope.READ)


def test_what_changes_something_needs_more_than_reading() -> None:
    for route in ROUTES:
        assert (route.method == "GET") != route.changes, route.name
        if route.changes:
            assert route.scope in (Scope.WRITE, Scope.ADMIN), route.name
        if route.scope is None:
            assert PREFIX + route.template in OPEN_PATHS


def test_every_request_model_refuses_what_it_does_not_know() -> None:
    for route in ROUTES:
        for model in (route.path, route.query, route.body):
            assert model.model_config.get("extra") == "forbid", (route.name, model)


def test_the_description_names_every_route_once() -> None:
    described = document(ROUTES, "1")
    found = [(path, method) for path, one in described["paths"].items() for method in one]
    assert len(found) == len(ROUTES)
    assert all("$ref" in str(one) for one in described["paths"].values())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"name":"a","name":"b"}', "malformed_json"),
        (b'{"name":NaN}', "malformed_json"),
        (b'\xef\xbb\xbf{"name":"a"}', "malformed_json"),
        (b'{"name":"\\ud800"}', "malformed_json"),
        (b'{"name":"a","more":1}', "invalid_request"),
        (b'{"name":1}', "invalid_request"),
        (b'{"name":"a","count":"1"}', "invalid_request"),
        (b'{"name":"a","count":true}', "invalid_request"),
        (b'{"name":"a","count":1.5}', "invalid_request"),
        (b"[]", "invalid_request"),
        (b"null", "invalid_request"),
    ],
)
def test_a_body_that_does_not_fit_says_how(body: bytes, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        bind_body(body, Body)
    assert caught.value.code == code


def test_a_body_that_fits_is_read_strictly_but_in_json_s_own_types() -> None:
    read = bind_body(
        b'{"name":"a","at":"2026-11-21T08:00:00Z","id":"00000000-0000-0000-0000-000000000007"}', Body
    )
    assert read == Body(name="a", at=datetime(2026, 11, 21, 8, tzinfo=UTC), id=UUID(int=7))
    assert bind_body(b"", Nothing) == Nothing()


def test_many_faults_are_named_up_to_a_bound() -> None:
    names = ",".join(f'"x{number}":1' for number in range(500))
    with pytest.raises(ProblemError) as caught:
        bind_body(b'{"name":"a",' + names.encode() + b"}", Body)
    assert len(caught.value.extra["errors"]) == 20
    assert "and 499 more" in caught.value.detail


@given(st.text(), st.uuids())
def test_a_cursor_comes_back_as_it_was(name: str, one: UUID) -> None:
    if "\x00" in name or any(0xD800 <= ord(sign) <= 0xDFFF for sign in name):
        return
    assert cursor.decode(cursor.encode((name, one)), cursor.NAME_KEY) == (name, one)


@given(st.text(max_size=200))
def test_no_text_makes_a_cursor_do_anything_but_fit_or_be_refused(text: str) -> None:
    keys: list[TypeAdapter[Any]] = [cursor.NAME_KEY, cursor.TIME_KEY, cursor.UPDATE_KEY, cursor.TOKEN_KEY]
    for key in keys:
        with contextlib.suppress(ProblemError):
            assert isinstance(cursor.decode(text, key), tuple)


def test_a_cursor_of_another_list_is_refused() -> None:
    one = cursor.encode((datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)))
    assert cursor.decode(one, cursor.TIME_KEY) is not None
    with pytest.raises(ProblemError):
        cursor.decode(one, cursor.UPDATE_KEY)
    with pytest.raises(ProblemError):
        cursor.decode(cursor.encode(("2026-01-01T00:00:00", UUID(int=1))), cursor.TIME_KEY)


def test_the_page_is_plain_and_its_policy_allows_only_its_style() -> None:
    text = page("<b>1</b>")
    assert "<b>" not in text
    assert "<script" not in text
    assert "http://" not in text
    assert "'unsafe-inline'" not in policy()


@pytest.mark.parametrize(
    "origin", ["", "example.org", "ftp://a", "https://a/b", "https://u@a", "https://a b"]
)
def test_an_origin_that_is_none_is_a_wrong_setting(origin: str) -> None:
    with pytest.raises(ValidationError):
        Settings(
            dashboard_database_url="postgresql://x/y",
            intent_key_file="k",
            fleet=UUID(int=1),
            gateway_origin=origin,
        )


@pytest.mark.parametrize("name", ["", "a\nb", "a\n", "-a", "a" * 65])
def test_names_that_do_not_fit_are_answered_in_words(name: str) -> None:
    with pytest.raises(ProblemError) as caught:
        bind_body(json.dumps({"name": name}).encode(), GroupRequest)
    assert caught.value.detail.startswith("body/name: a name has 1 to 64 letters, digits")
    with pytest.raises(ProblemError) as caught:
        bind_body(json.dumps({"tags": {name: "x"}}).encode(), TokenRequest)
    assert "a tag's name has 1 to 64 letters" in caught.value.detail


def test_the_description_names_the_headers_of_answers() -> None:
    described = document(ROUTES, "1")
    answers = described["paths"][f"{PREFIX}/jobs"]["post"]["responses"]
    assert {"Location", "RF-Correlation-Id"} == answers["202"]["headers"].keys()
    assert "Retry-After" in answers["503"]["headers"]
    assert "Location" not in described["paths"][f"{PREFIX}/jobs"]["get"]["responses"]["200"]["headers"]
    assert answers["503"]["headers"].keys() <= described["components"]["headers"].keys()


def test_a_misfit_of_one_of_two_forms_is_told_of_that_form() -> None:
    for package, told in (("\x1b", "body/packages/0: "), ({"name": "\x1b"}, "body/packages/0/name: ")):
        with pytest.raises(ProblemError) as caught:
            bind_body(json.dumps({"host": "h", "packages": [package]}).encode(), PlanRequest)
        assert caught.value.detail.startswith(told)
        assert len(caught.value.extra["errors"]) == 1
