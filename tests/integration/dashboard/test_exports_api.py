"""Exports: whole, inert, bounded, and visibly broken when broken."""

import csv
import io
import json
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from redflag_dashboard.api import exports
from redflag_dashboard.rest import exporting
from redflag_ops.csv_cells import plain
from redflag_store.queries import hosts as host_queries
from tests.integration.dashboard.running_api import Api

NAME = "=cmd|'/C calc'!A0"
TAGS = {"a": 'quote" and, comma', "b": "line\nbreak", "c": "\x1b]0;owned\x07", "+d": "@SUM(A1)"}


async def exported(api: Api, path: str, **params: Any) -> str:
    async with api.raw("GET", path, **params) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.read()).decode())


def rows_of(text_: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_, newline=""), strict=True))


async def test_what_hosts_say_is_inert_in_a_spreadsheet(api: Api) -> None:
    await api.add_host(NAME, tags=TAGS)
    text_ = await exported(api, "/hosts/export", format="csv")
    (row,) = rows_of(text_)
    assert row["hostname"] == "'" + NAME
    assert plain(row["hostname"]) == NAME
    assert row["tags"].startswith("'+d=@SUM(A1); a=quote\" and, comma; b=line\nbreak; c=\\x1b]0;owned\\x07")
    assert "\x1b" not in text_
    (cells,) = list(csv.reader(io.StringIO(text_, newline=""), strict=True))[1:]
    assert not any(cell[:1] in "=+-@\t\r" for cell in cells if cell)


async def test_an_export_holds_what_the_list_holds(api: Api) -> None:
    agent = await api.add_host("web", tags={"env": "prod"})
    await api.add_host("db")
    await api.add_update(agent, "openssl", security=True)
    listed = await api.call("GET", "/hosts")
    whole = json.loads(await exported(api, "/hosts/export"))
    assert whole == {"items": listed["items"], "count": 2}
    assert [
        one["hostname"] for one in json.loads(await exported(api, "/hosts/export", tag="env"))["items"]
    ] == ["web"]
    assert json.loads(await exported(api, "/hosts/export", q="none")) == {"items": [], "count": 0}
    async with api.raw("GET", "/hosts/export", format="csv") as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="redflag-hosts-')
        assert answer.headers["RF-Correlation-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    await api.call("GET", "/hosts/export", format="xml", expect=422)
    await api.call("GET", "/hosts/export", key=None, expect=401)
    await api.call("GET", "/hosts/export", under="none", expect=404)


async def test_events_are_exported_by_filter(api: Api) -> None:
    async with api.owner.begin() as session:
        for code, message in (("one", "-1"), ("two", "plain")):
            await session.execute(
                text(
                    "INSERT INTO system_event (id, at, severity, component, code, message, data)"
                    " VALUES (gen_random_uuid(), '2026-01-02T03:04:05Z', 'warning', 'auth', :code, :message, '{}')"
                ),
                {"code": code, "message": message},
            )
    (row,) = rows_of(await exported(api, "/events/export", format="csv", code="one"))
    assert (row["message"], row["at"], row["count"]) == ("'-1", "2026-01-02T03:04:05+00:00", "1")
    found = json.loads(await exported(api, "/events/export", since="2026-01-02T03:04:05Z", component="auth"))
    assert found["count"] == 2
    assert json.loads(await exported(api, "/events/export", until="2026-01-02T03:04:05Z"))["count"] == 0
    await api.call("GET", "/events", since="2026-01-02T03:04:05", expect=422)


async def test_many_rows_come_in_batches_and_in_order(api: Api) -> None:
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO agent (id, hostname, machine_id, state, akt, created_at)"
                " SELECT gen_random_uuid(), 'h' || lpad(n::text, 5, '0'), 'm', 'active', n::text, now()"
                " FROM generate_series(1, 1203) n"
            )
        )
    rows = rows_of(await exported(api, "/hosts/export", format="csv"))
    assert [row["hostname"] for row in rows] == [f"h{n:05}" for n in range(1, 1204)]


async def test_a_broken_export_is_seen_to_be_broken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        await api.add_host(f"h{n}")
    monkeypatch.setattr(exporting, "BATCH", 2)
    seen = 0

    async def failing(session: Any, agents: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise RuntimeError("the database went away")
        return await host_queries.with_figures(session, agents)

    monkeypatch.setattr(exports, "with_figures", failing)
    for form in ("csv", "json"):
        seen = 0
        with pytest.raises(aiohttp.ClientError):
            await exported(api, "/hosts/export", format=form)
        assert seen == 2
    # What fails before the first byte is a problem like any other, and the place is free again.
    seen = 1
    await api.call("GET", "/hosts/export", expect=500)
    seen = 2
    assert len(rows_of(await exported(api, "/hosts/export", format="csv"))) == 4


async def test_only_so_many_exports_run_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 0)
    problem = await api.call("GET", "/hosts/export", expect=503)
    assert problem["code"] == "too_many_waiting"
