"""Commands, their parameters, sequence numbers; intents; the consistency of reports."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import limits
from redflag_wire.command import LONGEST_LIFE, next_seq
from redflag_wire.command_params import (
    CancelParams,
    CommandKind,
    DryRunUpdateParams,
    EnableHeartbeatParams,
    InstallUpdatesParams,
    NoParams,
    RebootParams,
    RollbackUpdateParams,
    ScanParams,
    UpdateAgentParams,
    parse_params,
)
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.report import CommandState, Outcome, ReportKind
from tests.unit.wire import samples
from tests.unit.wire.samples import COMMAND, DIGEST, STEADY

SED = {"name": "sed", "arch": "amd64", "version": "4.9-1"}


@pytest.mark.parametrize(
    ("kind", "params", "model"),
    [
        ("scan", {"subsystem": "all"}, ScanParams),
        ("scan", {"subsystem": "apt", "refresh": False}, ScanParams),
        ("dry_run_update", {"manager": "apt", "packages": [SED]}, DryRunUpdateParams),
        (
            "install_updates",
            {"manager": "apt", "packages": [SED, {**SED, "arch": "i386"}], "plan_digest": DIGEST},
            InstallUpdatesParams,
        ),
        ("dry_run_update", {"manager": "apt", "packages": [], "mode": "full"}, DryRunUpdateParams),
        ("dry_run_update", {"manager": "apt", "packages": [SED], "mode": "rollback"}, DryRunUpdateParams),
        (
            "rollback_update",
            {"manager": "apt", "packages": [SED], "plan_digest": DIGEST},
            RollbackUpdateParams,
        ),
        ("collect_specs", {}, NoParams),
        ("reboot", {"delay_s": 0, "reason": "kernel"}, RebootParams),
        ("update_agent", {"version": "1.2.3"}, UpdateAgentParams),
        ("enable_heartbeat", {"duration_s": 600}, EnableHeartbeatParams),
        ("enable_heartbeat", {"duration_s": None}, EnableHeartbeatParams),
        ("disable_heartbeat", {}, NoParams),
        ("cancel", {"cmd": str(COMMAND)}, CancelParams),
    ],
)
def test_params_fit_their_kind(kind: str, params: dict[str, Any], model: type) -> None:
    assert type(parse_params(CommandKind(kind), params)) is model
    made = samples.command(kind=kind, params=params)
    assert type(made.typed_params) is model
    assert type(made).from_bytes(made.to_bytes()).params == params


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("scan", {"subsystem": "../etc"}),
        ("scan", {"subsystem": "apt\n"}),
        ("scan", {"subsystem": "apt", "refresh": 1}),
        ("scan", {"subsystem": "apt", "command": "id"}),
        ("dry_run_update", {"manager": "apt", "packages": []}),
        ("dry_run_update", {"manager": "apt", "packages": [SED, {**SED, "version": "5"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [SED], "plan_digest": DIGEST}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "-oDpkg::x=y"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "version": "-1"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": ""}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "a\x1b[31m"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "a\u202eb"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "u\u0308"}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "x" * 257}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "name": "\u00fc" * 129}]}),
        ("dry_run_update", {"manager": "apt", "packages": [{**SED, "extra": 1}]}),
        ("dry_run_update", {"manager": "apt", "packages": {"0": SED}}),
        ("install_updates", {"manager": "apt", "packages": [SED]}),
        ("install_updates", {"manager": "apt", "packages": [SED], "plan_digest": "sha256:" + "AB" * 32}),
        ("install_updates", {"manager": "apt", "packages": [SED], "plan_digest": DIGEST + "\n"}),
        ("install_updates", {"manager": "apt", "packages": [SED], "plan_digest": "ab" * 32}),
        ("install_updates", {"manager": "apt", "packages": [SED], "mode": "full", "plan_digest": DIGEST}),
        ("install_updates", {"manager": "apt", "packages": [SED], "mode": "rollback", "plan_digest": DIGEST}),
        ("rollback_update", {"manager": "apt", "packages": [], "plan_digest": DIGEST}),
        ("rollback_update", {"manager": "apt", "packages": [SED]}),
        ("dry_run_update", {"manager": "apt", "packages": [SED], "mode": "security"}),
        ("dry_run_update", {"manager": "apt", "packages": [], "mode": "rollback"}),
        ("update_agent", {"version": "-1"}),
        ("reboot", {"now": True}),
        ("reboot", {"delay_s": -1}),
        ("reboot", {"delay_s": 86_401}),
        ("reboot", {"reason": "x" * 201}),
        ("reboot", {"reason": "two\nlines"}),
        ("enable_heartbeat", {}),
        ("enable_heartbeat", {"duration_s": 59}),
        ("enable_heartbeat", {"duration_s": True}),
        ("cancel", {"cmd": str(COMMAND).upper()}),
        ("cancel", {"cmd": COMMAND.hex}),
    ],
)
def test_params_that_do_not_fit_are_refused(kind: str, params: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError, match="schema"):
        parse_params(CommandKind(kind), params)
    with pytest.raises(SchemaRefusedError):
        samples.command(kind=kind, params=params)


def test_packages_are_bounded() -> None:
    packages = [{**SED, "name": f"p{number}"} for number in range(limits.PACKAGES_MAX + 1)]
    parse_params(CommandKind.DRY_RUN_UPDATE, {"manager": "apt", "packages": packages[:-1]})
    with pytest.raises(SchemaRefusedError):
        parse_params(CommandKind.DRY_RUN_UPDATE, {"manager": "apt", "packages": packages})


def test_defaults_may_be_left_out_and_mean_the_same() -> None:
    assert parse_params(CommandKind.SCAN, {"subsystem": "all"}) == parse_params(
        CommandKind.SCAN, {"subsystem": "all", "refresh": True}
    )


@pytest.mark.parametrize("kind", list(CommandKind))
def test_only_looking_needs_no_intent(kind: CommandKind) -> None:
    params: dict[CommandKind, dict[str, Any]] = {
        CommandKind.DRY_RUN_UPDATE: {"manager": "apt", "packages": [SED]},
        CommandKind.INSTALL_UPDATES: {"manager": "apt", "packages": [SED], "plan_digest": DIGEST},
        CommandKind.ROLLBACK_UPDATE: {"manager": "apt", "packages": [SED], "plan_digest": DIGEST},
        CommandKind.UPDATE_AGENT: {"version": "1.2.3"},
        CommandKind.ENABLE_HEARTBEAT: {"duration_s": 600},
        CommandKind.CANCEL: {"cmd": str(COMMAND)},
    }
    by: dict[str, Any] = {"approvers": [], "intent": None}
    if kind in {CommandKind.SCAN, CommandKind.COLLECT_SPECS, CommandKind.DRY_RUN_UPDATE}:
        samples.command(kind=kind, params=params.get(kind, {}), by=by)
    else:
        with pytest.raises(SchemaRefusedError, match="intent"):
            samples.command(kind=kind, params=params.get(kind, {}), by=by)


def test_longest_lives_are_the_protocols() -> None:
    long = {CommandKind.SCAN: 24, CommandKind.INSTALL_UPDATES: 12, CommandKind.ROLLBACK_UPDATE: 12}
    assert {kind: timedelta(hours=long.get(kind, 1)) for kind in CommandKind} == LONGEST_LIFE


@pytest.mark.parametrize(
    ("last", "now_ms", "floor", "expected"),
    [
        (0, 0, 0, 1),
        (0, 1_767_225_600_000, 0, 1_767_225_600_000 * 1024),
        (1_767_225_600_000 * 1024, 1_767_225_600_000, 0, 1_767_225_600_000 * 1024 + 1),
        (5, 0, 900, 901),
        (900, 0, 5, 901),
        # A database restored from yesterday: time, or the agent's word, still leads beyond what was given out.
        (
            1_767_139_200_000 * 1024,
            1_767_225_600_000,
            1_767_225_600_000 * 1024 + 3,
            1_767_225_600_000 * 1024 + 4,
        ),
    ],
)
def test_next_seq_is_the_largest_of_three(last: int, now_ms: int, floor: int, expected: int) -> None:
    assert next_seq(last, now_ms, floor) == expected


@given(st.integers(0, 2**52), st.integers(0, 2**42), st.integers(0, 2**52))
@STEADY
def test_next_seq_grows_and_fits_the_wire(last: int, now_ms: int, floor: int) -> None:
    seq = next_seq(last, now_ms, floor)
    assert seq > max(last, floor)
    assert seq < limits.INTEGER_LIMIT


def test_next_seq_ends_before_integers_do() -> None:
    assert next_seq(2**53 - 2, 0, 0) == 2**53 - 1
    with pytest.raises(SchemaRefusedError, match="seq_exhausted"):
        next_seq(2**53 - 1, 0, 0)


def test_window_and_limits_are_checked() -> None:
    good = samples.command().model_dump(mode="json")
    for pol in (
        {"window": {"opens": "2026-01-01T00:00:00Z", "closes": "2026-01-01T00:00:00Z"}},
        {"max_runtime": 0},
        {"allow_reboot": None},
    ):
        with pytest.raises(SchemaRefusedError):
            samples.command(pol={**good["pol"], **pol})


def test_intent_names_each_target_once() -> None:
    assert samples.intent(targets=[]).targets == []
    with pytest.raises(SchemaRefusedError, match="twice"):
        samples.intent(targets=[samples.AGENT, samples.AGENT])


def test_an_intent_for_the_most_targets_fits_an_envelope() -> None:
    targets = [samples.AGENT.__class__(int=number) for number in range(limits.TARGETS_MAX)]
    assert len(samples.intent(targets=targets).to_bytes()) * 4 // 3 + 1024 < limits.ENVELOPE_MAX_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"cmd": None},
        {"cmd_digest": None},
        {"cmd": None, "cmd_digest": None},
        {"state": None, "result": None},
        {"result": None},
        {"state": CommandState.STARTED},
        {"kind": ReportKind.INVENTORY},
        {"kind": ReportKind.EVENT, "state": None},
    ],
)
def test_report_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError):
        samples.report(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": CommandState.RECEIVED, "result": None},
        {"state": CommandState.STARTED, "result": None},
        {"result": Outcome.REJECTED, "code": "kind_unsupported"},
        {"kind": ReportKind.EVENT, "state": None, "result": None},
        {
            "kind": ReportKind.FACTS,
            "state": None,
            "result": None,
            "cmd": None,
            "cmd_digest": None,
            "prev": None,
        },
    ],
)
def test_report_that_makes_sense_is_taken(changes: dict[str, Any]) -> None:
    made = samples.report(**changes)
    assert type(made).from_bytes(made.to_bytes()) == made
