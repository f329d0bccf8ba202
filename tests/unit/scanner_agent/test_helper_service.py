"""What a hostile network process gets from the helper: nothing."""

import pytest

from redflag_scanner_agent.errors import AgentError, JournalError
from redflag_scanner_agent.helper_service import INITIAL_INVENTORY
from redflag_scanner_agent.trust import TrustRefusedError
from redflag_wire.errors import WireError
from redflag_wire.ids import new_id
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import CommandState, Outcome, Report, ReportKind
from redflag_wire.report_framing import split_reports
from redflag_wire.signing import SigningKey, sign_envelope
from tests.support.agent_fleet import key
from tests.unit.scanner_agent.host import BOOT, Host


def report(host: Host, rseq: int, prev: str | None, **changes: object) -> Report:
    values = {
        "fleet": host.fleet.id,
        "agent": host.agent,
        "akt": host.agent_key.public.thumbprint,
        "report": new_id(host.clock),
        "rseq": rseq,
        "prev": prev,
        "at_mono": 1,
        "boot_id": BOOT,
        "kind": ReportKind.EVENT,
        "at": host.clock.now(),
    }
    return Report(**{**values, **changes})  # type: ignore[arg-type]


def envelope(found: Report, signer: SigningKey) -> bytes:
    return sign_envelope(PayloadType.REPORT, found.to_bytes(), signer).to_bytes()


async def reserved(host: Host) -> Report:
    found = report(host, 1, None)
    answer, _ = await host.ask("reserve", report=str(found.report))
    assert answer == {"rseq": 1, "prev": None}
    return found


async def test_report_of_the_agent_key_is_kept_with_its_mark(host: Host) -> None:
    found = await reserved(host)
    await host.ask("commit", host.blobs(envelope(found, host.agent_key), b"body"), mark=["facts", "abc"])
    answer, framed = await host.ask("reports", after=0)
    assert answer["last"] == 1
    assert split_reports(framed) == [(envelope(found, host.agent_key), b"body")]
    hello, _ = await host.ask("hello")
    assert hello["facts_mark"] == "abc"
    assert hello["reserved"] is None
    assert hello["inventory_mark"] is None
    assert INITIAL_INVENTORY


async def test_report_of_another_key_is_refused(host: Host) -> None:
    found = await reserved(host)
    for signer in (key(), host.receipt_key):
        with pytest.raises(WireError):
            await host.ask("commit", host.blobs(envelope(found, signer), b""))
    assert host.spool.reserved() is not None


async def test_network_process_cannot_tell_of_executions(host: Host) -> None:
    found = await reserved(host)
    forged = found.model_copy(
        update={
            "kind": ReportKind.COMMAND,
            "cmd": new_id(host.clock),
            "cmd_digest": "sha256:" + "0" * 64,
            "state": CommandState.DONE,
            "result": Outcome.SUCCEEDED,
        }
    )
    with pytest.raises(AgentError) as caught:
        await host.ask("commit", host.blobs(envelope(forged, host.agent_key), b""))
    assert caught.value.code == "report_kind"


async def test_report_out_of_place_is_refused(host: Host) -> None:
    found = await reserved(host)
    for changed in ({"rseq": 2}, {"prev": "sha256:" + "0" * 64}, {"report": new_id(host.clock)}):
        moved = found.model_copy(update=changed)
        with pytest.raises(JournalError):
            await host.ask("commit", host.blobs(envelope(moved, host.agent_key), b""))


async def test_hello_after_a_crash_names_the_open_reservation(host: Host) -> None:
    found = await reserved(host)
    host.start()
    hello, _ = await host.ask("hello")
    assert hello["reserved"] == str(found.report)


async def test_no_request_gives_a_private_key_away(host: Host) -> None:
    seeds = {host.receipt_key.seed.hex(), host.receipt_key.to_text("receipt").split()[2]}
    for op in ("hello", "pending", "reports"):
        answer, blob = await host.ask(op, after=0)
        for seed in seeds:
            assert seed not in str(answer)
            assert seed.encode() not in blob
        assert host.receipt_key.seed not in blob


async def test_commands_before_enrolment_are_refused(host: Host) -> None:
    command = host.fleet.sign(host.command())
    host.trust._identity = None
    with pytest.raises(TrustRefusedError):
        await host.ask("command", command)


async def test_policy_is_read_for_every_command(host: Host) -> None:
    host.policy.write_text('kinds = ["reboot"]')
    host.policy.chmod(0o644)
    assert (await host.give(host.command()))["code"] == "kind_policy"
    host.policy.unlink()
    assert (await host.give(host.command()))["verdict"] == "journaled"


async def test_first_inventory_waits_for_the_agent_key(host: Host) -> None:
    answer, _ = await host.ask("inventory", refresh=True)
    assert answer == {"inventories": 3}  # of the package manager, and how host and volumes are
    pending, body = await host.ask("pending")
    assert pending["kind"] == "inventory"
    assert len(body) == pending["ref"]["length"]


async def test_confirmation_of_numbers_never_given_out_is_not_believed(host: Host) -> None:
    await host.give(host.command())
    assert (await host.ask("confirmed", rseq=10**9))[0] == {"gone": 0}
    assert (await host.ask("confirmed", rseq="1"))[0] == {"gone": 0}
    assert (await host.ask("confirmed", rseq=1))[0] == {"gone": 1}
