"""What bad input gets from a whole RedFlag: a clear answer, nothing lost, nothing half done.

Each test adds rows (sent, came back) to a table, shown with `-s`. The details of each refusal have tests of their own
beside the code; here they go through `redflag up` as it is run.
"""

import asyncio
import gzip
import io
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from sqlalchemy import text

from redflag_store.engine import one_connection
from redflag_wire.clock import SystemClock
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.report import ReportKind
from redflag_wire.signing import SigningKey
from tests.support.directories import open_directory
from tests.support.hostile_agent import HostileAgent
from tests.support.installation import Installation
from tests.support.simulated_agent import REPORTS_TYPE, CallFailedError

DEADLINE_S = 60.0
LOOK_AGAIN_S = 0.2
HANDLES = b'{"handles":[]}'
Table = Callable[[str, object], None]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with open_directory("bad-input") as directory:
        running = Installation(directory, options=("--no-agent",))
        try:
            running.start()
            running.scan_only_when_asked()
            yield running
            running.stop()
        finally:
            running.kill_all()


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    rows: list[tuple[str, str]] = []
    yield lambda sent, back: rows.append((sent, str(back)))
    width = max((len(sent) for sent, _ in rows), default=0)
    sys.stdout.write("\n" + "".join(f"{sent:{width}}  {back}\n" for sent, back in rows))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def agent(installation: Installation, session: aiohttp.ClientSession) -> HostileAgent:
    return await enrolled(installation, session)


async def enrolled(installation: Installation, session: aiohttp.ClientSession) -> HostileAgent:
    joined = stranger(installation, session)
    await joined.enrol(EnrolmentToken.parse(installation.json("tokens", "create")["token"]))
    await joined.poll()
    return joined


def stranger(installation: Installation, session: aiohttp.ClientSession) -> HostileAgent:
    return HostileAgent(
        session, installation.ready["gateway_url"], SystemClock(), number=secrets.randbelow(10**6)
    )


async def api(
    installation: Installation,
    session: aiohttp.ClientSession,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, dict[str, Any]]:
    key = Path(installation.ready["admin_secret_file"]).read_text().strip()
    url = f"{installation.ready['api_url']}/api/v1{path}"
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
    method = "GET" if body is None else "POST"
    data = None if body is None else io.BytesIO(body)
    async with session.request(method, url, data=data, headers=sent) as answer:
        return answer.status, await answer.json()


async def until_event(
    installation: Installation, session: aiohttp.ClientSession, code: str, agent: HostileAgent
) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            _, found = await api(installation, session, f"/events?code={code}&host={agent.agent_id}")
            if found["items"]:
                event: dict[str, Any] = found["items"][0]
                return event
            await asyncio.sleep(LOOK_AGAIN_S)


# --- enrolment tokens


async def test_enrolment_tokens(
    installation: Installation, session: aiohttp.ClientSession, table: Table
) -> None:
    def made(*options: str) -> dict[str, Any]:
        found: dict[str, Any] = installation.json("tokens", "create", *options)
        return found

    good = EnrolmentToken.parse(made("--seats", "1")["token"])
    used = EnrolmentToken.parse(made("--seats", "1")["token"])
    await stranger(installation, session).enrol(used)
    expired, revoked = made(), made()
    async with one_connection(installation.database_url, application_name="test") as database:
        for column, spoilt in (("expires_at", expired), ("revoked_at", revoked)):
            statement = text(f"UPDATE enrollment_token SET {column} = now() - interval '1 s' WHERE id = :id")  # noqa: S608 - two constants
            await database.execute(statement, {"id": spoilt["id"]})
        await database.commit()
    cases = {
        "a token nobody made": EnrolmentToken.mint(secrets.token_bytes, good.rootfp),
        "a used-up token": used,
        "an expired token": EnrolmentToken.parse(expired["token"]),
        "a revoked token": EnrolmentToken.parse(revoked["token"]),
        "the right id with a guessed seed": EnrolmentToken(
            good.token_id, secrets.token_bytes(32), good.rootfp
        ),
    }
    before = installation.json("hosts", "list")["total"]
    told = set()
    for name, token in cases.items():
        with pytest.raises(CallFailedError) as refused:
            await stranger(installation, session).enrol(token)
        table(name, f"{refused.value.status} {json.loads(refused.value.body)['code']}")
        told.add((refused.value.status, refused.value.body))
    assert len(told) == 1, "the answers would tell tokens apart"
    assert next(iter(told))[0] == 403
    foreign = EnrolmentToken.mint(secrets.token_bytes, secrets.token_bytes(32))
    with pytest.raises(Exception, match="root") as unlike:
        await stranger(installation, session).enrol(foreign)
    table("a token of another installation", f"the host itself refuses: {unlike.value}")
    assert installation.json("hosts", "list")["total"] == before
    left = [one for one in installation.json("tokens", "list")["items"] if one["id"] == good.token_id]
    assert left[0]["used"] == 0, "a refused enrolment took a seat"
    await stranger(installation, session).enrol(good)


# --- signed requests


async def test_signed_requests(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    other = await enrolled(installation, session)
    ack = "/commands/ack"

    async def expect(name: str, code: str, headers: Any, body: bytes = HANDLES, path: str = ack) -> None:
        back = await agent.send("POST", path, headers, body)
        table(name, back)
        assert (back.status, back.code) == (401, code), name

    good = agent.signed_headers("POST", ack, HANDLES)
    await expect("no signature", "unsigned", {"Content-Type": "application/json"})
    partly = {name: value for name, value in good.items() if name != "Content-Digest"}
    await expect("a signature without its digest", "unsigned", partly)
    await expect(
        "another body", "content_digest", agent.signed_headers("POST", ack, HANDLES), b'{"handles":["x"]}'
    )
    changed = agent.signed_headers("POST", "/reports", HANDLES)
    await expect("a signature for another path", "signature", changed)
    changed = agent.signed_headers("POST", ack + "?x=1", HANDLES)
    await expect("a signature for another query", "signature", changed)
    taken = {
        **agent.signed_headers("POST", ack, HANDLES),
        "Authorization": f"Bearer {other.access_token}",
    }
    await expect("the token of another host", "keyid", taken)
    forged = {**agent.signed_headers("POST", ack, HANDLES)}
    forged["Signature"] = (
        forged["Signature"][:8] + ("A" if forged["Signature"][8] != "A" else "B") + forged["Signature"][9:]
    )
    await expect("one changed sign of the signature", "signature", forged)
    old = {**agent.signed_headers("POST", ack, HANDLES)}
    replay = await agent.send("POST", ack, old, HANDLES)
    assert replay.status == 200
    await expect("the same request again", "replay", old)
    stale = {**agent.signed_headers("POST", ack, HANDLES), "RF-Nonce": "AAAA"}
    await expect("a server nonce of nobody", "nonce_stale", stale)
    none = {**agent.signed_headers("POST", ack, HANDLES), "Authorization": "Bearer e30.e30."}
    await expect("a token that is not signed", "token", none)
    twice = [*agent.signed_headers("POST", ack, HANDLES).items(), ("Authorization", "Bearer x")]
    await expect("two tokens", "header_twice", twice)
    agent_key, agent.agent_key = agent.agent_key, SigningKey.generate(secrets.token_bytes)
    await expect("a good token with another key", "keyid", agent.signed_headers("POST", ack, HANDLES))
    agent.agent_key = agent_key
    assert (await agent.post(ack, HANDLES)).status == 200


# --- JSON and bodies


async def test_json_to_the_gateway(agent: HostileAgent, table: Table) -> None:
    cases: dict[str, tuple[bytes, int]] = {
        "70 KiB": (b'{"handles":["' + b"x" * 70_000 + b'"]}', 413),
        "1,000 levels": (b"[" * 1000 + b"]" * 1000, 400),
        "a key twice": (b'{"handles":[],"handles":["x"]}', 400),
        "NaN": (b'{"handles":[NaN]}', 400),
        "not UTF-8": (b'{"handles":["\xff"]}', 400),
        "UTF-16": ('{"handles":[]}'.encode("utf-16"), 400),
        "a byte order mark": (b"\xef\xbb\xbf" + HANDLES, 400),
        "half a surrogate": (b'{"handles":["\\ud800"]}', 400),
        "a number of 400 digits": (b'{"handles":[' + b"9" * 400 + b"]}", 400),
        "nothing": (b"", 400),
        "a key nobody knows": (b'{"handles":[],"do":"it"}', 400),
    }
    for name, (body, status) in cases.items():
        back = await agent.post("/commands/ack", body)
        table(f"JSON to the gateway: {name}", back)
        assert back.status == status, name
        assert back.code
    bomb = gzip.compress(b"0" * 20_000_000)
    headers = {**agent.signed_headers("POST", "/commands/ack", bomb), "Content-Encoding": "gzip"}
    back = await agent.send("POST", "/commands/ack", headers, bomb)
    table("a compressed request", back)
    assert (back.status, back.code) == (415, "encoded")
    assert (await agent.post("/commands/ack", HANDLES)).status == 200


async def test_json_to_the_api(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    path = f"/hosts/{agent.agent_id}/scan"
    cases = {
        "1,000 levels": b'{"subsystem":' + b"[" * 1000 + b"]" * 1000 + b"}",
        "a key twice": b'{"subsystem":"apt","subsystem":"all"}',
        "NaN": b'{"subsystem":NaN}',
        "not UTF-8": b'{"subsystem":"\xff"}',
        "an unknown field": b'{"subsystem":"all","then":"reboot"}',
        "a shell": b'{"subsystem":"apt; id"}',
        "a list": b"[]",
    }
    for name, body in cases.items():
        status, told = await api(installation, session, path, body)
        table(f"JSON to the API: {name}", f"{status} {told['code']}")
        assert 400 <= status < 500, name
        assert told["detail"], name
    status, told = await api(installation, session, path, b'{"subsystem":"' + b"x" * 3_000_000 + b'"}')
    table("JSON to the API: 3 MB", f"{status} {told['code']}")
    assert status == 413
    _, listed = await api(installation, session, f"/commands?host={agent.agent_id}")
    assert listed["total"] == 0, "something half done came of it"


# --- reports


def inventory(rows: list[dict[str, Any]]) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = {
        "type": "inventory",
        "manager": "apt",
        "scanned_at": now,
        "source_age_s": 60,
        "reboot_required": False,
        "digest": None,
        "problems": [],
    }
    return json.dumps({**head, "updates": rows}).encode()


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "manager": "apt",
        "name": f"package-{number:04d}",
        "arch": "amd64",
        "installed": "1.0-1",
        "candidate": "1.0-2",
        "origin": "Debian",
        "suite": "stable",
        "security": number % 10 == 0,
        "state": "available",
        **changes,
    }


async def test_a_report_of_4000_updates_of_which_3_are_broken(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    rows = [row(number) for number in range(4000)]
    rows[17] = row(17, candidate=None)
    rows[1234] = row(1234, name="with\u202edirection")
    rows[3999] = row(3999, size=-1)
    assert (await agent.report(agent.report_of(ReportKind.INVENTORY, inventory(rows)))).status == 202
    event = await until_event(installation, session, "inventory_rows_refused", agent)
    _, listed = await api(installation, session, f"/updates?host={agent.agent_id}&limit=1")
    named = event["data"]["rows"]
    table("4,000 updates, 3 of them broken", f"{listed['total']} stored, in an event: {'; '.join(named)}")
    assert listed["total"] == 3997
    assert [text.split(":")[0] for text in named] == ["row 17", "row 1234", "row 3999"]


async def test_bodies_of_reports(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    deep = b'{"type":"event","data":' + b"[" * 50 + b"]" * 50 + b"}"
    cases = {
        "a bomb of 64 MB": (b"", gzip.compress(b"0" * 64_000_000)),
        "no gzip at all": (b"", b"nonsense"),
        "50 levels": (deep, None),
        "a key twice": (b'{"type":"event","type":"facts"}', None),
        "NaN": (b'{"type":"event","data":{"x":NaN}}', None),
        "not UTF-8": (b'{"type":"\xff"}', None),
        "an unknown type": (b'{"type":"shell"}', None),
    }
    for number, (name, (decoded, sealed)) in enumerate(cases.items(), start=1):
        back = await agent.report(agent.report_of(ReportKind.EVENT, decoded, sealed=sealed))
        async with asyncio.timeout(DEADLINE_S):
            while True:
                _, found = await api(
                    installation, session, f"/events?code=report_body_unreadable&host={agent.agent_id}"
                )
                if found["total"] >= number:
                    break
                await asyncio.sleep(LOOK_AGAIN_S)
        table(f"a report's body: {name}", f"{back.status}, then event: {found['items'][0]['message']}")
    # The host is not locked out by its odd reports: the next good one counts.
    good = agent.report_of(ReportKind.INVENTORY, inventory([row(1)]))
    assert (await agent.report(good)).status == 202
    async with asyncio.timeout(DEADLINE_S):
        while (await api(installation, session, f"/updates?host={agent.agent_id}"))[1]["total"] != 1:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(LOOK_AGAIN_S)


async def test_frames_and_foreign_reports(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    for name, frame, status in (
        ("no frame", b"x" * 100, 400),
        ("a length beyond the end", (10**6).to_bytes(4, "big") + b"x", 400),
        ("3 MB", b"\0" * 3_000_000, 413),
        ("nothing", b"", 400),
    ):
        back = await agent.post("/reports", frame, REPORTS_TYPE)
        table(f"reports framed as: {name}", back)
        assert back.status == status, name
    victim = await enrolled(installation, session)
    back = await agent.report(victim.report_of(ReportKind.INVENTORY, inventory([row(1)])))
    event = await until_event(installation, session, "report_refused", agent)
    _, listed = await api(installation, session, f"/updates?host={victim.agent_id}")
    table("another host's report", f"{back.status}, then event: {event['message']}")
    assert listed["total"] == 0


# --- parts that are away


@pytest.mark.timeout(240)
async def test_database_and_broker_away(
    installation: Installation, session: aiohttp.ClientSession, agent: HostileAgent, table: Table
) -> None:
    """Stopped, not ended, so that nobody starts them anew meanwhile; then they go on."""
    path = f"/hosts/{agent.agent_id}/scan"
    postgres = installation.ready["pids"]["postgres"]
    everyone = [postgres, *children_of(postgres)]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(DEADLINE_S):
            status, told = await api(
                installation, session, path, b'{"subsystem":"all"}', **{"Idempotency-Key": str(uuid4())}
            )
        table("a scan while the database is away", f"{status} {told['code']}")
        assert status == 503
        back = await agent.send("GET", "/commands?wait=0", agent.signed_headers("GET", "/commands?wait=0"))
        table("a poll while the database is away", back)
        assert back.status == 200
    finally:
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(DEADLINE_S):
        while (await api(installation, session, path, b'{"subsystem":"all"}'))[0] not in {202, 409}:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(LOOK_AGAIN_S)
    async with asyncio.timeout(DEADLINE_S):
        while not (await agent.poll())["commands"]:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(LOOK_AGAIN_S)

    broker = installation.ready["pids"]["nats"]
    os.kill(broker, signal.SIGKILL)
    statuses = set()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            frame = agent.report_of(ReportKind.INVENTORY, inventory([row(1)]))
            back = await agent.report(frame)
            statuses.add(str(back))
            if back.status == 503:
                assert int(back.headers["Retry-After"]) > 0
            elif "503 broker_away" in statuses:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
    table("reports while the broker is away and back", ", ".join(sorted(statuses)))
    assert statuses == {"202", "503 broker_away"}


def children_of(pid: int) -> list[int]:
    """The processes a process has started, as the kernel lists them."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]
