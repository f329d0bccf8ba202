"""What operators are told of refusals at the door, and of gateways."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from redflag_broker_config.subjects import INGEST_EVENT, SERVICE_RENEW, UP_STREAM, UpKind, up_subject
from redflag_dispatcher import gateway_events
from redflag_dispatcher.auth_service import AuthService
from redflag_dispatcher.gateway_events import GatewayEvents
from redflag_dispatcher.noticed import KINDS_MAX, Noticed, started
from redflag_dispatcher.pull import Puller
from redflag_dispatcher.refusal_notices import Notice
from redflag_store.states import Severity
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.gateway_event import GatewayEvent
from tests.integration.dispatcher.rig import CLOCK, Host, Rig, make_key
from tests.integration.dispatcher.test_enrolment import (
    ask,
    confirm,
    enrol,
    enrol_envelope,
    joined,
    make_token,
    renew,
)


@pytest.fixture
def noticed(rig: Rig) -> Noticed:
    return Noticed(rig.maker, clock=CLOCK, new_id=rig.new_id)


@pytest.fixture
async def auth(rig: Rig, noticed: Noticed) -> AsyncIterator[AuthService]:
    service = AuthService(rig.nc, rig.enrolments, rig.renewals, metrics=rig.metrics, note=noticed.note)
    await service.start()
    yield service
    await service.stop()


async def told(rig: Rig) -> dict[str, dict[str, Any]]:
    rows = await rig.rows("SELECT * FROM system_event WHERE code LIKE 'enrolment%'")
    return {row["code"]: row for row in rows}


async def test_each_reason_is_told_to_operators_and_none_to_the_asker(
    rig: Rig, noticed: Noticed, auth: AuthService
) -> None:
    good = await make_token(rig)
    used_up, taken = await make_token(rig), Host()
    assert (await enrol(rig, enrol_envelope(used_up, taken)))[0] == 200
    sent = {
        "enrolment_token_unknown": enrol_envelope(EnrolmentToken.mint(bytes, bytes(32)), Host()),
        "enrolment_token_expired": enrol_envelope(
            await make_token(rig, expires_at=CLOCK.now() - timedelta(minutes=1)), Host()
        ),
        "enrolment_token_revoked": enrol_envelope(await make_token(rig, revoked_at=CLOCK.now()), Host()),
        "enrolment_token_used_up": enrol_envelope(used_up, Host()),
        "enrolment_foreign_fleet": enrol_envelope(good, Host(), fleet=str(uuid4())),
        "enrolment_signature": enrol_envelope(good, Host(), make_key(), make_key()),
        "enrolment_key_known": enrol_envelope(good, taken),
    }
    answers = [await enrol(rig, envelope) for envelope in sent.values()]
    assert [status for status, _ in answers] == [403] * len(sent)
    assert len({str(body) for _, body in answers}) == 1
    assert (await enrol(rig, b"{}"))[0] == 400
    await noticed.step()
    found = await told(rig)
    assert set(found) == {*sent, "enrolment_malformed"}
    assert all(row["severity"] == "warning" and row["component"] == "auth" for row in found.values())
    assert used_up.token_id in found["enrolment_token_used_up"]["data"]
    assert "192.0.2.7" in found["enrolment_signature"]["data"]
    assert (await rig.value("SELECT count(*) FROM system_event WHERE code = 'host_enrolled'")) == 1


async def test_a_flood_is_one_row_that_counts(rig: Rig, noticed: Noticed, auth: AuthService) -> None:
    unknown = enrol_envelope(EnrolmentToken.mint(bytes, bytes(32)), Host())
    for _ in range(2):
        await asyncio.gather(*(enrol(rig, unknown) for _ in range(20)))
        await noticed.step()
    rows = await rig.rows("SELECT count FROM system_event WHERE code = 'enrolment_token_unknown'")
    assert sum(row["count"] for row in rows) == 40
    assert len(rows) <= 2  # two when the hour turned over meanwhile


async def test_a_refused_renewal_is_told(rig: Rig, noticed: Noticed, auth: AuthService) -> None:
    status, _ = await ask(rig, SERVICE_RENEW, {"method": "POST"})
    assert status == 400
    await noticed.step()
    (event,) = await rig.events("renewal_refused")
    assert event["data"]["answered"] == "request_form"


async def test_renewals_are_one_row_with_their_number(rig: Rig, noticed: Noticed, auth: AuthService) -> None:
    host, enrolled = await joined(rig)
    await confirm(rig, host, 1, enrolled.renewal_secret)
    for _ in range(3):
        assert (await renew(rig, host, 1, enrolled.renewal_secret))[0] == 200
        await noticed.step()
    rows = await rig.rows("SELECT count FROM system_event WHERE code = 'access_renewed'")
    assert sum(row["count"] for row in rows) == 3
    assert len(rows) <= 2  # two when the hour turned over meanwhile


async def test_notices_wait_for_the_database_and_are_bounded(rig: Rig, noticed: Noticed) -> None:
    for n in range(KINDS_MAX + 3):
        noticed.note(Notice(Severity.WARNING, "auth", "flood", f"message {n}"))
    noticed.note(started())  # dropped too
    broken = Noticed(None, clock=CLOCK, new_id=rig.new_id)  # type: ignore[arg-type]
    broken.note(Notice(Severity.WARNING, "auth", "kept", "it is kept"))
    await broken.last()
    broken._maker = rig.maker
    await broken.last()
    assert len(await rig.events("kept")) == 1
    await noticed.step()
    await noticed.step()
    assert await rig.value("SELECT count(*) FROM system_event WHERE code = 'flood'") == KINDS_MAX
    (dropped,) = await rig.events("notices_dropped")
    assert dropped["count"] == 4


async def test_what_gateways_tell_is_marked_as_their_word(rig: Rig) -> None:
    puller = Puller(rig.nc, UP_STREAM, INGEST_EVENT, clock=CLOCK)
    await puller.start()
    events = GatewayEvents(rig.maker, puller, clock=CLOCK, new_id=rig.new_id)
    now = CLOCK.now().replace(microsecond=0)
    event = GatewayEvent(
        gateway="https://gw.example.org", at=now, severity="warning", code="broker_reconnected",
        message="the connection stands again", count=3, data={"away_s": 9, "gateway": "somebody else"},
    )  # fmt: skip
    js, subject = rig.nc.jetstream(), up_subject(UpKind.EVENT, 0)
    bad = event.to_bytes().replace(b'"warning"', b'"critical"')
    for data in (event.to_bytes(), bad, b"{", b"{}" * 20_000, event.to_bytes()):
        await js.publish(subject, data)
    async with asyncio.timeout(30):
        while await rig.waiting_in(UP_STREAM):
            await events.step()
    (row,) = await rig.events("broker_reconnected")
    assert (row["component"], row["severity"], row["count"], row["agent_id"]) == (
        "gateway",
        "warning",
        6,
        None,
    )
    assert (row["data"]["gateway"], row["data"]["away_s"]) == ("https://gw.example.org", 9)
    (refused,) = await rig.events("gateway_event_refused")
    assert refused["count"] == 3
    await puller.stop()


async def test_a_gateway_that_tells_without_end_does_not_fill_the_table(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_events, "BURST", 5)
    monkeypatch.setattr(gateway_events, "RATE_PER_S", 0.0)
    puller = Puller(rig.nc, UP_STREAM, INGEST_EVENT, clock=CLOCK)
    await puller.start()
    events = GatewayEvents(rig.maker, puller, clock=CLOCK, new_id=rig.new_id)
    js, subject, now = rig.nc.jetstream(), up_subject(UpKind.EVENT, 0), CLOCK.now().replace(microsecond=0)
    for n in range(12):
        event = GatewayEvent(gateway=f"gw{n}", at=now, severity="info", code="flood", message=f"number {n}")
        await js.publish(subject, event.to_bytes())
    async with asyncio.timeout(30):
        while await rig.waiting_in(UP_STREAM):
            await events.step()
    assert len(await rig.events("flood")) == 5
    dropped = await rig.events("gateway_events_dropped")
    assert sum(row["count"] for row in dropped) == 7
    await puller.stop()
