"""What a job asks of each of its hosts, and how many signed intents that takes. Pure.

Hosts that are asked for exactly the same share an intent, as far as one holds; a host that cannot be asked is left
out and named with the reason, never dropped in silence.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from redflag_dashboard.agent_versions import agent_too_old
from redflag_dashboard.capabilities import managers
from redflag_store.queries.job_selection import ApprovedPackage, SelectedHost
from redflag_wire.command_params import CommandKind, PlanMode
from redflag_wire.intent import IntentVerb
from redflag_wire.limits import PACKAGES_MAX, TARGETS_MAX

TARGET_BYTES: Final = 40  # of one agent's id in an intent: 36 characters, quotes, a comma
REST_BYTES: Final = 4096  # of an intent beside its targets and parameters


class JobKind(StrEnum):
    """What many hosts can be asked for at once."""

    SCAN = "scan"
    COLLECT_SPECS = "collect_specs"
    REBOOT = "reboot"
    ENABLE_HEARTBEAT = "enable_heartbeat"
    DISABLE_HEARTBEAT = "disable_heartbeat"
    PLAN = "plan"


COMMANDS: Final[Mapping[JobKind, tuple[CommandKind, IntentVerb]]] = {
    JobKind.SCAN: (CommandKind.SCAN, IntentVerb.SCAN),
    JobKind.COLLECT_SPECS: (CommandKind.COLLECT_SPECS, IntentVerb.COLLECT_SPECS),
    JobKind.REBOOT: (CommandKind.REBOOT, IntentVerb.REBOOT),
    JobKind.ENABLE_HEARTBEAT: (CommandKind.ENABLE_HEARTBEAT, IntentVerb.ENABLE_HEARTBEAT),
    JobKind.DISABLE_HEARTBEAT: (CommandKind.DISABLE_HEARTBEAT, IntentVerb.DISABLE_HEARTBEAT),
    JobKind.PLAN: (CommandKind.DRY_RUN_UPDATE, IntentVerb.PLAN_UPDATES),
}
"""Kind of the commands and verb of the intents of each kind of job."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A host that matches and is not asked."""

    host: SelectedHost
    code: str


@dataclass(slots=True)
class Asked:
    """What is asked of whom.

    Attributes:
        groups: parameters as JSON -> the hosts asked for exactly that, in their order.
        left_out: who is not asked, and why.
    """

    groups: dict[str, list[UUID]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, host: SelectedHost, params: Mapping[str, Any]) -> None:
        """Ask a host for something."""
        self.groups.setdefault(json.dumps(params, sort_keys=True), []).append(host.id)

    @property
    def count(self) -> int:
        """How many hosts are asked."""
        return sum(len(hosts) for hosts in self.groups.values())


def ask_all(
    hosts: Sequence[SelectedHost], kind: CommandKind, params: Mapping[str, Any], minimum: str | None
) -> Asked:
    """Ask all hosts for the same.

    Args:
        hosts: the ones meant.
        kind: of the commands.
        params: of the commands.
        minimum: oldest version of an agent that may be asked; None for any.
    """
    asked = Asked()
    subsystem = params.get("subsystem")
    for host in hosts:
        known = managers(host.capabilities)
        if agent_too_old(host.agent_version, minimum, kind):
            asked.left_out.append(LeftOut(host, "agent_too_old"))
        elif kind is CommandKind.SCAN and known and subsystem not in (*known, "system", "storage", "all"):
            asked.left_out.append(LeftOut(host, "manager_unknown"))
        else:
            asked.add(host, params)
    return asked


def ask_for_plans(
    hosts: Sequence[SelectedHost],
    approved: Mapping[UUID, Sequence[ApprovedPackage]],
    *,
    mode: PlanMode,
    manager: str | None,
    minimum: str | None,
) -> Asked:
    """Ask each host for a plan of one package manager.

    Args:
        hosts: the ones meant.
        approved: what is approved on each; only looked at in the mode `packages`.
        mode: `packages` plans what is approved on each host; `security` and `full` are found by the host.
        manager: which one; None for a host's only one (with `packages`: of the only one with approved updates).
        minimum: oldest version of an agent that may be asked; None for any.
    """
    asked = Asked()
    for host in hosts:
        if agent_too_old(host.agent_version, minimum, CommandKind.DRY_RUN_UPDATE):
            asked.left_out.append(LeftOut(host, "agent_too_old"))
            continue
        packages = [
            one
            for one in approved.get(host.id, ())
            if mode is PlanMode.PACKAGES and manager in (None, one.manager)
        ]
        known = (
            sorted({one.manager for one in packages})
            if mode is PlanMode.PACKAGES
            else managers(host.capabilities)
        )
        fitting = [one for one in known if manager in (None, one)]
        if len(fitting) != 1:
            asked.left_out.append(LeftOut(host, _why_none(mode, fitting)))
        elif len(packages) > PACKAGES_MAX:
            asked.left_out.append(LeftOut(host, "too_many_packages"))
        else:
            asked.add(
                host,
                {
                    "manager": fitting[0],
                    "mode": mode.value,
                    "packages": [
                        {"name": one.name, "arch": one.arch, "version": one.version} for one in packages
                    ],
                },
            )
    return asked


def _why_none(mode: PlanMode, fitting: Sequence[str]) -> str:
    if fitting:
        return "manager_ambiguous"
    return "nothing_to_do" if mode is PlanMode.PACKAGES else "manager_unknown"


def targets_of_intents(params: str, targets: Sequence[UUID], *, payload_max: int) -> Iterator[Sequence[UUID]]:
    """The targets in parts that fit one intent each.

    Args:
        params: of the intent, as JSON.
        targets: the hosts.
        payload_max: bytes of one intent.

    Raises:
        ValueError: the parameters alone are too large.
    """
    # The wire's JSON escapes nothing that json.dumps does not, so this is never too low.
    room = (payload_max - REST_BYTES - len(params)) // TARGET_BYTES
    if room < 1:
        raise ValueError("the parameters do not fit an intent")
    step = min(room, TARGETS_MAX)
    for start in range(0, len(targets), step):
        yield targets[start : start + step]
