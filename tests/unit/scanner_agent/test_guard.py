import json
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from redflag_scanner_agent.guard import Accepted, Known, Refused, Step, View, judge
from redflag_scanner_agent.host_policy import HostPolicy, parse_policy
from redflag_scanner_agent.journal import Entry, JournalState
from redflag_wire.command import Command
from redflag_wire.command_params import CommandKind
from redflag_wire.envelope import digest
from redflag_wire.manifest import KeyStatus
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope
from tests.support.agent_fleet import Fleet, key

PACKAGES = {"manager": "fake", "packages": [{"name": "hello", "arch": "all", "version": "1.1"}]}
INSTALL = {**PACKAGES, "plan_digest": "sha256:" + "1" * 64}


class JournalDouble:
    """Answers, and fails the test if anything but questions is asked of it."""

    def __init__(self) -> None:
        self.floor = 0
        self.entries: dict[str, Entry] = {}
        self.room = True

    def find(self, cmd: str) -> Entry | None:
        return self.entries.get(cmd)

    def has_room(self, *, cancel: bool = False) -> bool:
        return self.room


class Host:
    """A host in the fleet, with every view of it open to change."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.agent: UUID = uuid4()
        self.akt = key().public.thumbprint
        self.journal = JournalDouble()
        self.view = View(
            fleet=self.fleet.id,
            agent=self.agent,
            akt=self.akt,
            manifest=self.fleet.manifest,
            now=self.fleet.clock.now(),
            policy=HostPolicy(),
            can_change=None,
            journal=self.journal,
            spool_has_room=lambda: True,
        )

    def command(self, kind: str = "scan", **changes: object) -> Command:
        return self.fleet.command(self.agent, self.akt, kind, **changes)

    def judge(self, command: Command, **view: object) -> Accepted | Known | Refused:
        return judge(self.fleet.sign(command), replace(self.view, **view))  # type: ignore[arg-type]


@pytest.fixture
def host() -> Host:
    return Host()


def refused(decision: object, step: Step, code: str) -> Refused:
    assert isinstance(decision, Refused), decision
    assert (decision.step, decision.code) == (step, code)
    assert decision.counter == f"{step.value}_{code}"
    return decision


def test_good_command_is_accepted(host: Host) -> None:
    command = host.command()
    decision = host.judge(command)
    assert isinstance(decision, Accepted)
    assert decision.about.command == command
    assert decision.about.digest == digest(command.to_bytes())


def test_step_1_size(host: Host) -> None:
    refused(judge(b" " * 262_145, host.view), Step.ENVELOPE, "envelope")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[]", b'{"payload":"","payload":""}'])
def test_step_1_envelope(host: Host, data: bytes) -> None:
    refused(judge(data, host.view), Step.ENVELOPE, "envelope")


@pytest.mark.parametrize("other", [one for one in PayloadType if one is not PayloadType.COMMAND])
def test_step_2_payload_type(host: Host, other: PayloadType) -> None:
    data = sign_envelope(other, host.command().to_bytes(), host.fleet.command_key).to_bytes()
    refused(judge(data, host.view), Step.TYPE, "payload_type")


def test_step_3_base64(host: Host) -> None:
    found = json.loads(host.fleet.sign(host.command()))
    found["payload"] = found["payload"][:-1] + "!"
    refused(judge(json.dumps(found).encode(), host.view), Step.BASE64, "base64")


def test_step_4_no_time_is_deferred(host: Host) -> None:
    assert not refused(host.judge(host.command(), now=None), Step.KEYS, "time_unknown").final


def test_step_4_revoked_key(host: Host) -> None:
    manifest = host.fleet.make_manifest(command={"status": KeyStatus.REVOKED})
    refused(host.judge(host.command(), manifest=manifest), Step.KEYS, "no_key")


def test_step_4_key_out_of_time(host: Host) -> None:
    manifest = host.fleet.make_manifest(command={"exp": host.fleet.clock.now() - timedelta(hours=1)})
    refused(host.judge(host.command(), manifest=manifest), Step.KEYS, "no_key")


@pytest.mark.parametrize("signer", ["beacon_key", "access_key", "root", None])
def test_step_5_key_of_another_use(host: Host, signer: str | None) -> None:
    other = key() if signer is None else getattr(host.fleet, signer)
    refused(judge(host.fleet.sign(host.command(), other), host.view), Step.SIGNATURE, "signature")


def test_step_5_changed_payload(host: Host) -> None:
    found = json.loads(host.fleet.sign(host.command()))
    found["payload"] = json.loads(host.fleet.sign(host.command()))["payload"]
    refused(judge(json.dumps(found).encode(), host.view), Step.SIGNATURE, "signature")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"v":1', b'"v":1,"v":1'),
        lambda text: text.replace(b'"v":1', b'"v":NaN'),
        lambda text: text.replace(b'"v":1', b'"v":2'),
        lambda text: text.replace(b'"wave":null', b'"wave":1.0'),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b'"prev":null', b'"prev":null,"more":1'),
        lambda text: text.replace(b',"prev":null', b""),
        lambda text: text.replace(b'"wave":null', b'"wave":' + b"[" * 20 + b"]" * 20),
    ],
)
def test_step_6_payload(host: Host, change: object) -> None:
    payload = change(host.command().to_bytes())  # type: ignore[operator]
    data = sign_envelope(PayloadType.COMMAND, payload, host.fleet.command_key).to_bytes()
    refused(judge(data, host.view), Step.PAYLOAD, "payload")


def test_step_7_fleet(host: Host) -> None:
    decision = refused(host.judge(host.command(fleet=str(uuid4()))), Step.ADDRESS, "fleet")
    assert decision.about is None


def test_step_7_agent(host: Host) -> None:
    assert refused(host.judge(host.command(agent=uuid4())), Step.ADDRESS, "agent").about is None


def test_step_7_agent_key(host: Host) -> None:
    other = key().public.thumbprint
    assert refused(host.judge(host.command(akt=other)), Step.ADDRESS, "akt").about is None


def test_step_8_kind_of_the_key(host: Host) -> None:
    manifest = host.fleet.make_manifest(command={"kinds": [CommandKind.REBOOT]})
    decision = refused(host.judge(host.command(), manifest=manifest), Step.KIND, "kind_key")
    assert decision.about is not None


def test_step_8_kind_of_the_policy(host: Host) -> None:
    refused(host.judge(host.command(), policy=parse_policy('kinds = ["reboot"]')), Step.KIND, "kind_policy")


def test_step_8_unreadable_policy_allows_nothing(host: Host) -> None:
    refused(host.judge(host.command(), policy=parse_policy("kinds = 7")), Step.KIND, "policy_unreadable")


def test_step_8_unsupported_kind(host: Host) -> None:
    command = host.command("update_agent", params={"version": "1.2.3"})
    assert refused(host.judge(command), Step.KIND, "kind_unsupported").final


def test_step_8_scan_only_host_installs_nothing(host: Host) -> None:
    command = host.command("install_updates", params=INSTALL)
    refused(host.judge(command, can_change="no root"), Step.KIND, "scan_only")
    assert isinstance(host.judge(host.command(), can_change="no root"), Accepted)
    assert isinstance(host.judge(host.command("dry_run_update", params=PACKAGES), can_change="x"), Accepted)


def test_step_8_expired_manifest_stops_changes_only(host: Host) -> None:
    manifest = host.fleet.make_manifest(expires=host.fleet.clock.now() - timedelta(seconds=1))
    command = host.command("install_updates", params=INSTALL)
    refused(host.judge(command, manifest=manifest), Step.KIND, "manifest_expired")
    assert isinstance(host.judge(host.command(), manifest=manifest), Accepted)


def test_step_8_package_of_the_policy(host: Host) -> None:
    policy = parse_policy('[packages]\ndeny = ["hel*"]')
    refused(
        host.judge(host.command("dry_run_update", params=PACKAGES), policy=policy),
        Step.KIND,
        "package_policy",
    )


def test_step_9_expired(host: Host) -> None:
    command = host.command()
    host.fleet.clock.advance(3601)
    refused(host.judge(command, now=host.fleet.clock.now()), Step.TIME, "expired")


def test_step_9_last_moment_is_accepted(host: Host) -> None:
    command = host.command()
    assert isinstance(host.judge(command, now=command.exp), Accepted)


def test_step_9_not_yet_is_deferred(host: Host) -> None:
    later = host.fleet.clock.now() + timedelta(seconds=181)
    decision = refused(host.judge(host.command(nbf=later)), Step.TIME, "not_yet")
    assert not decision.final


def test_step_9_lag_of_trusted_time_is_allowed_for(host: Host) -> None:
    later = host.fleet.clock.now() + timedelta(seconds=179)
    assert isinstance(host.judge(host.command(nbf=later)), Accepted)


@pytest.mark.parametrize(("kind", "hours"), [("scan", 24), ("dry_run_update", 1)])
def test_step_9_life(host: Host, kind: str, hours: int) -> None:
    params = {} if kind == "scan" else PACKAGES
    now: datetime = host.fleet.clock.now()
    longest = now + timedelta(hours=hours)
    assert isinstance(host.judge(host.command(kind, params=params, exp=longest)), Accepted)
    too_long = longest + timedelta(milliseconds=1)
    refused(host.judge(host.command(kind, params=params, exp=too_long)), Step.TIME, "life")


def entry_of(command: Command, state: JournalState = JournalState.DONE) -> Entry:
    return Entry(
        cmd=str(command.cmd),
        digest=digest(command.to_bytes()),
        seq=command.seq,
        kind=command.kind.value,
        op=None,
        payload=command.to_bytes(),
        exp=command.exp,
        state=state,
    )


def test_step_10_same_bytes_are_known(host: Host) -> None:
    command = host.command()
    host.journal.entries[str(command.cmd)] = entry_of(command)
    assert isinstance(host.judge(command), Known)


def test_step_10_known_is_answered_for_whatever_time_and_policy_say_now(host: Host) -> None:
    command = host.command()
    host.journal.entries[str(command.cmd)] = entry_of(command)
    late = command.exp + timedelta(hours=1)
    assert isinstance(host.judge(command, now=late, policy=parse_policy("kinds = []")), Known)


def test_step_10_other_bytes_are_a_conflict(host: Host) -> None:
    command = host.command()
    host.journal.entries[str(command.cmd)] = entry_of(command)
    other = host.command(cmd=command.cmd)
    decision = refused(host.judge(other), Step.JOURNAL, "cmd_conflict")
    assert decision.about is None  # an alarm; nothing is said in the name of the command that is known


def test_step_10_stale(host: Host) -> None:
    command = host.command()
    host.journal.floor = command.seq
    refused(host.judge(command), Step.JOURNAL, "stale")
    host.journal.floor = command.seq - 1
    assert isinstance(host.judge(command), Accepted)


def test_step_10_full_journal_is_deferred(host: Host) -> None:
    host.journal.room = False
    assert not refused(host.judge(host.command()), Step.JOURNAL, "journal_full").final


def test_step_10_full_spool_is_deferred(host: Host) -> None:
    decision = host.judge(host.command(), spool_has_room=lambda: False)
    assert not refused(decision, Step.JOURNAL, "spool_full").final


def test_every_flipped_bit_of_the_payload_is_refused(host: Host) -> None:
    envelope = host.fleet.envelope(host.command())
    for at in range(0, len(envelope.payload) * 8, 7):
        changed = bytearray(envelope.payload)
        changed[at // 8] ^= 1 << (at % 8)
        data = replace(envelope, payload=bytes(changed)).to_bytes()
        refused(judge(data, host.view), Step.SIGNATURE, "signature")
