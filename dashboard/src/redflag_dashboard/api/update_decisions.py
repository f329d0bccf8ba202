"""The operator's word on updates: approve, reject, ignore, and take back; of one host, or of a package everywhere.

Every word is an intent that names exactly the packages, versions and hosts it is about, as they stand while the hosts'
rows are locked: ingest takes the same locks before it changes a candidate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.api.updates import hosts_of
from redflag_dashboard.decision_rules import split
from redflag_dashboard.models.updates import (
    LISTED_MAX,
    ApproveAnswer,
    ApproveRequest,
    DecisionAnswer,
    DecisionRequest,
    Update,
)
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_dashboard.selection import select
from redflag_store.queries import updates as queries
from redflag_store.queries.update_decisions import decide, lock_hosts
from redflag_store.queries.updates import AT_REST, UpdateFilter, UpdateRow
from redflag_store.states import PackageUpdateState
from redflag_wire.intent import IntentVerb

APPROVED_PER_INTENT: Final = 1000  # packages named in one signed intent, so that it fits its envelope
HOSTS_PER_INTENT: Final = 1000
HOSTS_MAX: Final = 10_000  # of one call over many hosts; a group or tag narrows it

S: Final = PackageUpdateState
_VERBS: Final[Mapping[PackageUpdateState, IntentVerb]] = {
    S.APPROVED: IntentVerb.APPROVE_UPDATES,
    S.REJECTED: IntentVerb.REJECT_UPDATES,
    S.IGNORED: IntentVerb.IGNORE_UPDATES,
    S.PENDING: IntentVerb.RESET_UPDATES,
}


@dataclass(slots=True)
class _Done:
    """What one call did."""

    host_id: UUID | None = None
    hostname: str | None = None
    new: list[UpdateRow] = field(default_factory=list)
    after: list[UpdateRow] = field(default_factory=list)
    already: int = 0
    busy: int = 0
    intents: list[UUID] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The fields every answer has."""
        return {
            "host_id": self.host_id,
            "hostname": self.hostname,
            "count": len(self.new),
            "hosts": len({row.package.agent_id for row in self.new}),
            "busy": self.busy,
            "intent_ids": self.intents,
        }


async def approve(call: Call[Nothing, Nothing, ApproveRequest]) -> Answer:
    """Approve updates at their present candidates."""
    done = await _decide(call, S.APPROVED)
    shown = [Update.of(row) for row in done.after[:LISTED_MAX]]
    return Answer(ApproveAnswer(**done.figures(), approved=shown, already_approved=done.already))


async def reject(call: Call[Nothing, Nothing, DecisionRequest]) -> Answer:
    """Reject updates; another candidate is a new question."""
    return _answer(await _decide(call, S.REJECTED))


async def ignore(call: Call[Nothing, Nothing, DecisionRequest]) -> Answer:
    """Ignore updates of packages, whatever the candidate, until that is taken back."""
    return _answer(await _decide(call, S.IGNORED))


async def reset(call: Call[Nothing, Nothing, DecisionRequest]) -> Answer:
    """Take back what was said of updates: they are pending again."""
    return _answer(await _decide(call, S.PENDING))


def _answer(done: _Done) -> Answer:
    shown = [Update.of(row) for row in done.after[:LISTED_MAX]]
    return Answer(DecisionAnswer(**done.figures(), changed=shown, already=done.already))


async def _decide(call: Call[Nothing, Nothing, Any], word: PackageUpdateState) -> _Done:
    body: DecisionRequest = call.body
    done = _Done()
    if body.host is not None:
        chosen = await _of_host(call, body, word, done)
    else:
        chosen = await _of_package(call, body)
    parts = split(chosen, word)
    done.new, done.already, done.busy = parts.new, parts.already, parts.busy
    for targets, rows in _intents(done.new):
        named = {
            (row.package.manager, row.package.name, row.package.arch, row.package.candidate): None
            for row in rows
        }
        packages = [
            {"manager": manager, "name": name, "arch": arch, "version": version}
            for manager, name, arch, version in named
        ]
        intent = commanding.intent_of(call, _VERBS[word], targets, {"packages": packages})
        await commanding.store(call, intent)
        await decide(
            call.tx,
            call.parts.clock,
            [row.package for row in rows],
            word,
            operator=call.operator,
            intent_id=intent.id,
            random=call.parts.random,
        )
        done.intents.append(intent.id)
    done.after = await _read_again(call, body, done)
    return done


async def _of_host(
    call: Call[Nothing, Nothing, Any], body: DecisionRequest, word: PackageUpdateState, done: _Done
) -> list[UpdateRow]:
    host = await host_lookup.one_host(call.tx, body.host or "")
    done.host_id, done.hostname = host.agent.id, host.agent.hostname
    await lock_hosts(call.tx, [host.agent.id])
    rows = await queries.updates_of_host(call.tx, host.agent.id)
    if body.packages is not None:
        return select(rows, body.packages)
    # Rejected and ignored ones are at rest: only taking back is about them, when all are meant.
    meant = [row for row in rows if row.state not in AT_REST or word is S.PENDING]
    return [row for row in meant if body.all or row.package.security]


async def _of_package(call: Call[Nothing, Nothing, Any], body: DecisionRequest) -> list[UpdateRow]:
    wanted = UpdateFilter(
        hosts=await hosts_of(call.tx, group=body.group, tag=body.tag, under=body.under),
        package=body.package,
        manager=body.manager,
        candidate=body.candidate,
    )
    found = await queries.updates_of_package(call.tx, wanted, limit=HOSTS_MAX + 1)
    if not found:
        at = "" if body.candidate is None else f" with the candidate {body.candidate}"
        raise ProblemError(
            ProblemCode.UPDATE_NOT_FOUND,
            f"no host meant lists an update of {body.package}{at}; list the updates",
        )
    if len(found) > HOSTS_MAX:
        raise ProblemError(
            ProblemCode.TOO_MANY_HOSTS,
            f"more than {HOSTS_MAX} updates are meant; name a group, tag or candidate",
        )
    hosts = sorted({row.package.agent_id for row in found})
    await lock_hosts(call.tx, hosts)
    # What changed before the locks were there is not what was meant any more.
    return await queries.updates_of_package(call.tx, wanted, limit=HOSTS_MAX, agents=hosts)


def _intents(rows: Sequence[UpdateRow]) -> list[tuple[list[UUID], list[UpdateRow]]]:
    """Rows by intent: packages of one host together, and hosts with exactly the same packages together."""
    by_host: dict[UUID, list[UpdateRow]] = {}
    for row in rows:
        by_host.setdefault(row.package.agent_id, []).append(row)
    alike: dict[tuple[tuple[str, ...], ...], dict[UUID, list[UpdateRow]]] = {}
    for host, own in by_host.items():
        for start in range(0, len(own), APPROVED_PER_INTENT):
            part = own[start : start + APPROVED_PER_INTENT]
            named = tuple(
                (row.package.manager, row.package.name, row.package.arch, row.package.candidate or "")
                for row in part
            )
            alike.setdefault(named, {})[host] = part
    made = []
    for hosts in alike.values():
        targets = list(hosts)
        for start in range(0, len(targets), HOSTS_PER_INTENT):
            some = targets[start : start + HOSTS_PER_INTENT]
            made.append((some, [row for host in some for row in hosts[host]]))
    return made


async def _read_again(
    call: Call[Nothing, Nothing, Any], body: DecisionRequest, done: _Done
) -> list[UpdateRow]:
    if not done.new:
        return []
    shown = done.new[:LISTED_MAX]
    keys = {(row.package.agent_id, row.package.manager, row.package.name, row.package.arch) for row in shown}
    if done.host_id is not None:
        names = {row.package.name for row in done.new}
        after = await queries.updates_of_host(call.tx, done.host_id, names, at_rest=True)
    else:
        wanted = UpdateFilter(package=body.package, manager=body.manager)
        hosts = {row.package.agent_id for row in shown}
        after = await queries.updates_of_package(call.tx, wanted, limit=HOSTS_MAX, agents=hosts)
    return [
        row
        for row in after
        if (row.package.agent_id, row.package.manager, row.package.name, row.package.arch) in keys
    ]


_PROBLEMS: Final = tuple(
    dict.fromkeys(
        (
            *host_lookup.PROBLEMS,
            *host_lookup.FILTER_PROBLEMS,
            ProblemCode.UPDATE_NOT_FOUND,
            ProblemCode.PACKAGE_AMBIGUOUS,
            ProblemCode.TOO_MANY_PACKAGES,
            ProblemCode.TOO_MANY_HOSTS,
        )
    )
)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/updates/approve", "updates_approve", "Approve updates at their candidates", approve,
        ApproveAnswer, Nothing, Nothing, ApproveRequest, "updates", scope=Scope.WRITE, changes=True,
        problems=_PROBLEMS,
    ),
    Route(
        "POST", "/updates/reject", "updates_reject", "Reject updates, until the candidate is another one", reject,
        DecisionAnswer, Nothing, Nothing, DecisionRequest, "updates", scope=Scope.WRITE, changes=True,
        problems=_PROBLEMS,
    ),
    Route(
        "POST", "/updates/ignore", "updates_ignore", "Ignore updates until that is taken back", ignore,
        DecisionAnswer, Nothing, Nothing, DecisionRequest, "updates", scope=Scope.WRITE, changes=True,
        problems=_PROBLEMS,
    ),
    Route(
        "POST", "/updates/reset", "updates_reset", "Take back what was said of updates", reset, DecisionAnswer,
        Nothing, Nothing, DecisionRequest, "updates", scope=Scope.WRITE, changes=True, problems=_PROBLEMS,
    ),
)  # fmt: skip
