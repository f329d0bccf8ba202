"""On whose word a command is signed: an operator's intent, or RedFlag's own for what only looks. Pure.

The signer asks this for every row. A row of source ``system`` needs no intent and may only look (docs/adr/0006); every
other row is held against the intent it names (``intent_check``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from redflag_dispatcher.errors import IntentRefusedError
from redflag_dispatcher.intent_check import CheckedIntent, RequestedCommand, check_command
from redflag_store.queries.signing import AgentRow, RequestedRow
from redflag_store.states import AgentState, CommandSource
from redflag_wire.command import LONGEST_LIFE, CommandKind
from redflag_wire.command_params import LOOKING_KINDS


@dataclass(frozen=True, slots=True)
class Mandate:
    """What a command may carry in ``by``.

    Attributes:
        kind: of the command.
        approvers: names of the people; none for RedFlag itself.
        intent: digest of the intent; None for RedFlag itself.
    """

    kind: CommandKind
    approvers: tuple[str, ...]
    intent: str | None


@dataclass(slots=True)
class Known:
    """What a batch is held against.

    Attributes:
        intents: verified ones.
        broken: those that did not hold, and why.
        agents: under lock.
        used: (intent, agent) pairs a command was signed for already.
        jobs: command -> the job that made it, for the targets of cancels.
    """

    intents: dict[UUID, CheckedIntent]
    broken: dict[UUID, IntentRefusedError]
    agents: dict[UUID, AgentRow]
    used: set[tuple[UUID, UUID]]
    jobs: Mapping[UUID, UUID] = field(default_factory=dict)


def mandate_of(row: RequestedRow, known: Known, now: datetime) -> Mandate:
    """Return the mandate of a requested command.

    Raises:
        IntentRefusedError: it has none; ``agent_not_active``, ``system_kind``, ``intent_missing``, ``intent_used``, or
            one of ``intent_check``.
    """
    state = known.agents[row.agent_id].state
    if state != AgentState.ACTIVE and row.kind != CommandKind.CANCEL:
        raise IntentRefusedError("agent_not_active", f"the agent is {state}")
    if row.source == CommandSource.SYSTEM:
        return _own(row)
    if row.intent_id is None:
        raise IntentRefusedError("intent_missing", "the row names no intent")
    if row.intent_id in known.broken:
        raise known.broken[row.intent_id]
    intent = known.intents.get(row.intent_id)
    if intent is None:
        raise IntentRefusedError("intent_missing", f"there is no intent {row.intent_id}")
    target = target_of(row)
    wanted = RequestedCommand(
        row.id,
        row.agent_id,
        row.intent_id,
        row.kind,
        row.params,
        None if target is None else known.jobs.get(target),
    )
    kind = check_command(intent, wanted, now=now)
    if not intent.of_job and (row.intent_id, row.agent_id) in known.used:
        # Otherwise a copied row would spend one signature of an operator twice. The end of a job is one act for all
        # its commands, and a second cancel of one changes nothing.
        raise IntentRefusedError("intent_used", "this intent already made a command for this agent")
    return Mandate(kind, (intent.intent.operator,), intent.digest)


def waited_too_long(row: RequestedRow, known: Known) -> bool:
    """Whether a command whose intent has expired was asked for in time, and only waited: for a limit, or a signer.

    Anything else with an expired intent is an alarm: somebody uses an old word of an operator again.
    """
    intent = None if row.intent_id is None else known.intents.get(row.intent_id)
    if intent is None or row.kind not in LONGEST_LIFE:
        return False
    return row.requested_at < intent.intent.at + LONGEST_LIFE[CommandKind(row.kind)]


def target_of(row: RequestedRow) -> UUID | None:
    """Return the command a cancel names; None for another kind, or where it names none."""
    if row.kind != CommandKind.CANCEL:
        return None
    try:
        return UUID(str(row.params.get("cmd")))
    except ValueError:
        return None


def _own(row: RequestedRow) -> Mandate:
    if row.intent_id is not None or row.kind not in LOOKING_KINDS:
        raise IntentRefusedError("system_kind", f"RedFlag itself does not ask for {row.kind[:40]}")
    return Mandate(CommandKind(row.kind), (), None)
