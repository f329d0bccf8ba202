import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from redflag_broker_config.subjects import HEADER_AGENT
from redflag_dispatcher.command_build import Addressee, build_command
from redflag_dispatcher.identifiers import Identifiers, _next
from redflag_dispatcher.ingest import CHUNK_BODY_BYTES, agent_header, chunks
from redflag_dispatcher.intent_check import check_intent
from redflag_dispatcher.mandate import Mandate
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.pull import Pulled
from redflag_dispatcher.retrying import LONGEST_WAIT_S, backoff_s, keep
from redflag_dispatcher.seen import SKEW, read_deliveries, read_presence
from redflag_dispatcher.streams import parse_created
from redflag_wire.command import LONGEST_LIFE, Command, CommandKind
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.ids import new_id
from tests.unit.dispatcher.signers import CLOCK, FLEET, NOW, make_intent, make_key, seal

AGENT = new_id(CLOCK)

RULES = [
    "intent_check", "command_build", "report_check", "report_body", "report_chain", "apply_report", "report_effects",
    "enrolment_rules", "publish_rules", "inventory_rules", "package_results", "result_text", "command_moves",
    "admission", "cancelling", "mandate",
]  # fmt: skip


@pytest.mark.parametrize("module", RULES)
def test_rules_need_no_broker_no_http_and_no_models(module: str) -> None:
    code = (
        f"import sys, redflag_dispatcher.{module}\n"
        "sys.exit(','.join(n for n in ('nats', 'aiohttp', 'sqlmodel') if n in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_command_carries_what_its_intent_and_agent_say() -> None:
    key = make_key()
    intent = check_intent(seal(make_intent(AGENT), key), [key.public], fleet=FLEET)
    to = Addressee(AGENT, make_key().public.thumbprint, last_seq=2**52, seq_floor=2**52 + 5)
    command = build_command(
        fleet=FLEET,
        command=new_id(CLOCK),
        op=None,
        params={"subsystem": "apt"},
        to=to,
        mandate=Mandate(CommandKind.SCAN, ("admin",), intent.digest),
        timeout_s=600,
        now=NOW + timedelta(microseconds=1999),
        random=bytes,
    )
    assert command.seq == 2**52 + 6
    assert command.exp - command.iat == LONGEST_LIFE[CommandKind.SCAN]
    assert command.iat.microsecond == 1000
    assert command.by.intent == intent.digest
    assert (command.pol.max_runtime, command.pol.allow_reboot) == (600, False)
    assert Command.from_bytes(command.to_bytes()) == command


def built(kind: CommandKind, params: dict[str, object], timeout_s: int, intent: str | None) -> Command:
    return build_command(
        fleet=FLEET,
        command=new_id(CLOCK),
        op=None,
        params=params,
        to=Addressee(AGENT, make_key().public.thumbprint, last_seq=0, seq_floor=0),
        mandate=Mandate(kind, (), intent),
        timeout_s=timeout_s,
        now=NOW,
        random=bytes,
    )


def test_only_a_reboot_may_reboot_and_its_waiting_counts_for_its_time() -> None:
    digest = "sha256:" + "0" * 64
    reboot = built(CommandKind.REBOOT, {"delay_s": 3600, "reason": "kernel"}, 1800, digest)
    assert (reboot.pol.allow_reboot, reboot.pol.max_runtime) == (True, 5400)
    longest = built(CommandKind.REBOOT, {"delay_s": 86_400}, 1800, digest)
    assert longest.pol.max_runtime == 86_400


def test_what_redflag_asks_for_itself_carries_nobodys_word_and_only_looks() -> None:
    scan = built(CommandKind.SCAN, {}, 60, None)
    assert (scan.by.approvers, scan.by.intent) == ([], None)
    with pytest.raises(SchemaRefusedError):
        built(CommandKind.REBOOT, {}, 60, None)


def test_keys_sort_in_the_order_they_were_made() -> None:
    make = Identifiers(CLOCK)
    made = [make() for _ in range(1000)]
    assert made == sorted(set(made))
    assert all(one.version == 7 for one in made)


def test_key_after_the_last_one_of_its_random_part_stays_a_uuid7() -> None:
    last = UUID("01a1fd57-f0ad-718f-bfff-ffffffffffff")
    after = _next(last)
    assert after > last
    assert (after.version, after.variant) == (7, last.variant)


def pulled(size: int, agent: str | None = AGENT.hex) -> Pulled:
    return Pulled("rf.up.report.0", {} if agent is None else {HEADER_AGENT: agent}, b"x" * size, "reply")


def test_light_messages_share_a_transaction_and_heavy_ones_do_not() -> None:
    assert [len(part) for part in chunks([pulled(1000)] * 1000)] == [1000]
    heavy = [pulled(CHUNK_BODY_BYTES // 2)] * 5
    assert [len(part) for part in chunks(heavy)] == [2, 2, 1]
    assert [len(part) for part in chunks([pulled(CHUNK_BODY_BYTES * 3)] * 2)] == [1, 1]
    assert chunks([]) == []


@pytest.mark.parametrize("text", [None, "", "x", "../../etc", "1" * 40])
def test_header_that_names_no_agent_is_none(text: str | None) -> None:
    assert agent_header(pulled(1, text)) is None


def test_presence_leaves_out_what_makes_no_sense() -> None:
    at = NOW.timestamp()
    data = json.dumps({AGENT.hex: at, "x": at, new_id(CLOCK).hex: "soon", new_id(CLOCK).hex: 1e30}).encode()
    assert read_presence(data, NOW) == {AGENT: NOW}
    assert read_presence(b"[]", NOW) == {}
    assert read_presence(b"no json", NOW) == {}


def test_presence_of_the_future_is_cut_to_the_skew() -> None:
    data = json.dumps({AGENT.hex: NOW.timestamp() + 10_000}).encode()
    assert read_presence(data, NOW) == {AGENT: NOW + SKEW}


def test_deliveries_leave_out_what_makes_no_sense() -> None:
    command = new_id(CLOCK)
    good = {"agent": AGENT.hex, "cmd": str(command), "n": 1, "at": "x"}
    data = json.dumps([good, {}, 3, None, {**good, "cmd": "x"}, {**good, "agent": None}]).encode()
    assert read_deliveries(data) == [(command, AGENT)]
    assert read_deliveries(b"{}") == []
    assert read_deliveries(b"\xff") == []


def test_created_is_read_with_nanoseconds_or_none() -> None:
    expected = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)
    assert parse_created("2026-11-21T08:00:00.123456789Z") == expected
    assert parse_created("2026-11-21T08:00:00Z") == expected.replace(microsecond=0)
    assert parse_created("2026-11-21T08:00:00.5Z") == expected.replace(microsecond=500_000)


def test_backoff_is_bounded_however_often_it_failed() -> None:
    assert all(0 < backoff_s(failures) <= LONGEST_WAIT_S for failures in range(100))


class Loop:
    """A loop's step that plays back what it is told to."""

    def __init__(self, *script: bool | Exception) -> None:
        self.script = list(script)
        self.stop = asyncio.Event()
        self.wake = asyncio.Event()
        self.metrics = Metrics(CollectorRegistry())

    async def step(self) -> bool:
        if not self.script:
            self.stop.set()
            self.wake.set()
            return False
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def run(self) -> None:
        async with asyncio.timeout(5):
            await keep("test", self.step, stop=self.stop, wake=self.wake, idle_s=0.001, metrics=self.metrics)


async def test_loop_lives_through_faults_that_pass() -> None:
    loop = Loop(True, ConnectionResetError("gone"), TimeoutError(), False)
    await loop.run()
    assert loop.script == []
    assert loop.metrics.loop_faults.labels("test")._value.get() == 2


async def test_loop_ends_on_a_fault_of_the_program() -> None:
    loop = Loop(True, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        await loop.run()
