"""The reporter over a real helper service, without the socket between them."""

from typing import Any

import pytest

from redflag_scanner_agent import facts
from redflag_scanner_agent.connection import Call
from redflag_scanner_agent.errors import AgentError, HelperRefusedError, ServerUnreachableError
from redflag_scanner_agent.helper_client import HelperClient
from redflag_scanner_agent.ipc import Message
from redflag_scanner_agent.renewal import Access
from redflag_scanner_agent.reporter import RESEND_S, Reporter
from redflag_wire.envelope import digest
from redflag_wire.ids import new_id
from redflag_wire.report import ReportKind
from redflag_wire.report_bodies import Facts, HostEvent
from redflag_wire.report_body_codec import seal_body
from redflag_wire.report_framing import split_reports
from tests.unit.scanner_agent.host import BOOT, Host

EVENT = seal_body(HostEvent(code="x", severity="info", component="test", message="").to_bytes())


class Direct(HelperClient):
    """Calls the service; `drop` names requests that fail once, as with a full disk."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.service._channel)
        self.host = host
        self.drop: set[str] = set()

    async def request(
        self, op: str, blob: bytes = b"", *, deadline_s: float = 1.0, **fields: object
    ) -> Message:
        if op in self.drop:
            self.drop.discard(op)
            raise HelperRefusedError("journal_write", "the disk is full")
        try:
            return Message(*await self.host.ask(op, blob, **fields))
        except AgentError as error:
            raise HelperRefusedError(error.code, error.detail) from None


class Uplink(Access):
    def __init__(self) -> None:
        self.posts: list[list[tuple[bytes, bytes]]] = []
        self.away = False

    async def call(self, call: Call) -> dict[str, Any]:
        if self.away:
            raise ServerUnreachableError("no_answer", "away")
        self.posts.append(split_reports(call.body))
        return {"stored": len(self.posts[-1])}


@pytest.fixture
def uplink() -> Uplink:
    return Uplink()


@pytest.fixture
def helper(host: Host) -> Direct:
    return Direct(host)


@pytest.fixture
def reporter(host: Host, helper: Direct, uplink: Uplink, monkeypatch: pytest.MonkeyPatch) -> Reporter:
    monkeypatch.setattr(facts, "machine_id", lambda: "0" * 64)
    return Reporter(
        helper=helper,
        access=uplink,
        key=host.agent_key,
        fleet=host.fleet.id,
        agent=str(host.agent),
        clock=host.clock,
        boot_id=BOOT,
    )


def assert_chained(host: Host) -> None:
    reports = host.reports()
    assert [one.rseq for one in reports] == list(range(1, len(reports) + 1))
    last: dict[bool, str | None] = {True: None, False: None}
    for one in reports:
        by_receipt = one.kind is ReportKind.COMMAND
        assert one.prev == last[by_receipt]
        last[by_receipt] = digest(one.to_bytes())


async def test_facts_are_reported_once_and_again_when_they_change(
    host: Host, helper: Direct, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reporter.begin(await helper.hello())
    await reporter.begin(await helper.hello())
    assert [one.kind for one in host.reports()] == [ReportKind.FACTS]
    monkeypatch.setattr(facts, "agent_version", lambda: "99")
    await reporter.begin(await helper.hello())
    bodies = host.bodies()
    assert [body.agent_version for body in bodies if isinstance(body, Facts)][1:] == ["99"]
    assert_chained(host)


async def test_reservation_of_an_earlier_process_is_filled(
    host: Host, helper: Direct, reporter: Reporter
) -> None:
    lost = str(new_id(host.clock))
    await helper.reserve(lost)
    await host.give(host.command())
    await reporter.begin(await helper.hello())
    first = host.reports()[0]
    assert (str(first.report), first.code) == (lost, "report_lost")
    assert_chained(host)


async def test_reservation_left_open_by_a_full_disk_does_not_stop_the_next_report(
    host: Host, helper: Direct, reporter: Reporter
) -> None:
    helper.drop = {"commit"}
    with pytest.raises(HelperRefusedError):
        await reporter.add(ReportKind.EVENT, *EVENT, code="x")
    await reporter.add(ReportKind.EVENT, *EVENT, code="x")
    assert [one.code for one in host.reports()] == ["report_lost", "x"]
    assert_chained(host)


async def test_events_of_the_helper_are_signed_and_leave(
    host: Host, helper: Direct, reporter: Reporter
) -> None:
    await host.ask("command", b"garbage")
    await reporter.sign_pending()
    await reporter.sign_pending()
    (body,) = host.bodies()
    assert isinstance(body, HostEvent)
    assert body.code == "refused_envelope"
    assert await helper.pending() is None


async def test_unconfirmed_reports_are_sent_again_after_a_while(
    host: Host, reporter: Reporter, uplink: Uplink
) -> None:
    await host.give(host.command())
    assert await reporter.send() == 1
    assert await reporter.send() == 0
    await reporter.confirmed(None)
    assert await reporter.send() == 0  # the confirmation may still be on its way
    host.clock.advance(RESEND_S)
    await reporter.confirmed(None)
    assert await reporter.send() == 1
    assert uplink.posts[0] == uplink.posts[1]
    await reporter.confirmed(1)
    host.clock.advance(RESEND_S)
    await reporter.confirmed(1)
    assert await reporter.send() == 0
    assert host.reports() == []


async def test_report_that_could_not_be_sent_stays(host: Host, reporter: Reporter, uplink: Uplink) -> None:
    await host.give(host.command())
    uplink.away = True
    with pytest.raises(ServerUnreachableError):
        await reporter.send()
    uplink.away = False
    assert await reporter.send() == 1


async def test_first_inventory_is_marked_and_not_made_again(
    host: Host, helper: Direct, reporter: Reporter
) -> None:
    await reporter.first_inventory()
    await reporter.sign_pending()
    kinds = [one.kind for one in host.reports()]
    assert kinds == [ReportKind.EVENT, ReportKind.INVENTORY, ReportKind.METRICS, ReportKind.METRICS]
    assert (await helper.hello()).inventory_mark == BOOT
