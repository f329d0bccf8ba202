"""Takes signed reports out of the broker into the database, and confirms them.

Guarantees, in this order for each batch: every message climbs the ladder of ``report_check``; what passes is stored
once, with everything that follows from it, in one transaction; only after the commit is a message acknowledged, and
only after that is the agent's highest contiguous number published on ``rf.done.<n>``. A message that is refused is
ended at the broker, counted, and told in one event per agent and reason. A batch the database refuses for its data
is taken again message by message, so one that cannot be stored stops nobody else's; such a report is taken without its
body, and if that cannot be stored either, its number counts as taken, so that it does not hold up its own chain.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import HEADER_AGENT, done_subject, shard_of
from redflag_dispatcher.after_commands import write_after_commands
from redflag_dispatcher.errors import ReportRefusedError
from redflag_dispatcher.host_effects import write_host_effects
from redflag_dispatcher.inventory_asking import ask_for_whole
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.package_writes import write_packages
from redflag_dispatcher.pull import ACK, IN_PROGRESS, TERM, Pulled, Puller
from redflag_dispatcher.report_body import ReadReport, read_report, without_body
from redflag_dispatcher.report_chain import Chain, ChainFault
from redflag_dispatcher.report_check import AgentKeys, check_report
from redflag_dispatcher.report_effects import Effects
from redflag_ops.logging import get_logger
from redflag_store.queries import ingest as queries
from redflag_store.queries.ingest import ChainRow, InboxRow, KnownReport
from redflag_store.queries.journal import write_events, write_moves
from redflag_store.queries.transient import is_refused_data
from redflag_store.states import AgentState, Severity
from redflag_wire.clock import Clock
from redflag_wire.keys import PublicKey

WAIT_S = 1.0  # for the first message of a batch
CHUNK_BODY_BYTES = 256 * 1024  # packed bodies of one transaction: some 80,000 rows of inventories
LIGHT_BYTES = 2048  # a message up to this size has next to no body

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is not stored."""

    message: Pulled
    agent: UUID | None
    error: ReportRefusedError


@dataclass(slots=True)
class Outcome:
    """What became of one transaction's messages.

    Attributes:
        refused: to be ended at the broker.
        confirmed: each agent's highest contiguous number stored.
    """

    refused: list[Refusal]
    confirmed: dict[UUID, int]


def chunks(messages: list[Pulled]) -> list[list[Pulled]]:
    """Split a batch into what one transaction bears: bounded by the weight of the bodies."""
    parts: list[list[Pulled]] = [[]]
    weight = 0
    for message in messages:
        own = max(0, len(message.data) - LIGHT_BYTES)
        if parts[-1] and weight + own > CHUNK_BODY_BYTES:
            parts.append([])
            weight = 0
        parts[-1].append(message)
        weight += own
    return [part for part in parts if part]


def agent_header(message: Pulled) -> UUID | None:
    """Return the agent the gateway authenticated, None when the header names none."""
    try:
        return UUID(hex=message.headers.get(HEADER_AGENT, ""))
    except ValueError:
        return None


class Ingest:
    """One ingest of reports; ``step`` is one batch.

    Args:
        sessions: of the database.
        nc: the broker.
        puller: of the consumer ``ingest-report``, started.
        fleet: this installation.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        nc: Client,
        puller: Puller,
        *,
        fleet: str,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
    ) -> None:
        self._sessions = sessions
        self._nc = nc
        self._puller = puller
        self._fleet = fleet
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics

    async def step(self) -> bool:
        """Take one batch; always wants to be called again at once, because pulling waits by itself."""
        messages = await self._puller.next_batch(WAIT_S)
        parts = chunks(messages)
        for number, part in enumerate(parts):
            await self._take(part)
            for waiting in parts[number + 1 :]:
                await self._puller.answer(waiting, IN_PROGRESS)
        return True

    async def _take(self, messages: list[Pulled]) -> None:
        try:
            outcome = await self.store(messages)
        except Exception as error:
            if not is_refused_data(error):
                raise
            if len(messages) > 1:
                for message in messages:
                    await self._take([message])
                return
            outcome = await self._take_without_body(messages[0], str(error).partition("\n")[0][:200])
        refused = {id(refusal.message) for refusal in outcome.refused}
        await self._puller.answer([one for one in messages if id(one) not in refused], ACK)
        await self._puller.answer([one.message for one in outcome.refused], TERM)
        await self.confirm(outcome.confirmed)

    async def store(self, messages: list[Pulled], unstorable: str | None = None) -> Outcome:
        """Check and store messages in one transaction.

        Args:
            messages: as they came.
            unstorable: why their bodies are left out; None to take them whole.
        """
        started = self._clock.monotonic()
        agents = {agent for agent in map(agent_header, messages) if agent is not None}
        async with self._sessions() as session, session.begin():
            rows = await queries.agent_keys(session, agents)
        keys = {
            row.agent_id: AgentKeys(row.agent_id, PublicKey(row.agent_pub), PublicKey(row.receipt_pub))
            for row in rows.values()
            if row.state != AgentState.REVOKED
        }
        read, refused = await asyncio.to_thread(self._check, messages, keys)
        if unstorable is not None:
            read = [(message, without_body(one.checked, unstorable)) for message, one in read]
        async with self._sessions() as session, session.begin():
            outcome, fresh, effects = await self._write(session, read, refused)
        self._count(fresh, effects)
        self._metrics.ingest_batch.observe(len(messages))
        self._metrics.ingest_seconds.observe(self._clock.monotonic() - started)
        return outcome

    async def _take_without_body(self, message: Pulled, reason: str) -> Outcome:
        """Take a report whose body the database refuses; skip its number when the rest is refused too."""
        try:
            return await self.store([message], reason)
        except Exception as error:
            if not is_refused_data(error):
                raise
        refusal = Refusal(message, agent_header(message), ReportRefusedError("not_storable", reason))
        effects = Effects({}, self._clock.now(), self._new_id)
        self._tell_refused([refusal], effects)
        confirmed: dict[UUID, int] = {}
        async with self._sessions() as session, session.begin():
            rows = await queries.agent_keys(
                session, {agent for agent in (refusal.agent,) if agent is not None}
            )
            row = rows.get(refusal.agent) if refusal.agent is not None else None
            if row is not None:
                keys = AgentKeys(row.agent_id, PublicKey(row.agent_pub), PublicKey(row.receipt_pub))
                report = check_report(message.data, keys, fleet=self._fleet).report
                chain = chain_of((await queries.lock_chains(session, {row.agent_id}))[row.agent_id])
                chain.skip(report.rseq)
                confirmed[row.agent_id] = chain.confirmed
                await queries.note_agents(session, confirmed, effects.at)
            await write_events(session, effects.events)
        return Outcome([refusal], confirmed)

    def _check(
        self, messages: list[Pulled], keys: dict[UUID, AgentKeys]
    ) -> tuple[list[tuple[Pulled, ReadReport]], list[Refusal]]:
        read: list[tuple[Pulled, ReadReport]] = []
        refused: list[Refusal] = []
        for message in messages:
            agent = agent_header(message)
            own = None if agent is None else keys.get(agent)
            try:
                read.append((message, read_report(check_report(message.data, own, fleet=self._fleet))))
            except ReportRefusedError as error:
                refused.append(Refusal(message, agent, error))
        read.sort(key=lambda one: (one[1].checked.report.agent, one[1].checked.report.rseq))
        return read, refused

    async def _write(
        self, session: AsyncSession, read: list[tuple[Pulled, ReadReport]], refused: list[Refusal]
    ) -> tuple[Outcome, list[ReadReport], Effects]:
        now = self._clock.now()
        chains = await queries.lock_chains(session, sorted({one.checked.report.agent for _, one in read}))
        known = await queries.known_reports(session, {one.checked.report.report for _, one in read})
        states = {agent: chain_of(row) for agent, row in chains.items()}
        taken = await queries.taken_numbers(session, _behind(read, states, known))
        effects = Effects({}, now, self._new_id)
        fresh: list[ReadReport] = []
        for message, one in read:
            report = one.checked.report
            if report.report in known:
                if known[report.report].digest != one.checked.digest:
                    error = ReportRefusedError(
                        "report_conflict", "the id of a report that is stored with other bytes"
                    )
                    refused.append(Refusal(message, report.agent, error))
                else:
                    self._metrics.reports_repeated.inc()
                    self._came_again(states[report.agent], one, known[report.report].received_at, effects)
                continue
            known[report.report] = KnownReport(one.checked.digest, now)
            late = report.rseq <= chains[report.agent].last_rseq and (report.agent, report.rseq) not in taken
            if late or self._follow(states[report.agent], one, effects):
                taken |= {(report.agent, report.rseq)}
                fresh.append(one)
        commands = {one.checked.report.cmd for one in fresh if one.checked.report.cmd is not None}
        effects.commands = await queries.lock_commands(session, commands)
        for one in fresh:
            effects.take(one)
        self._tell_refused(refused, effects)
        await queries.store_reports(session, [_inbox(one, effects) for one in fresh])
        # What a report says of each package goes before the end of its command, which releases the rest of them.
        wanted = await write_packages(session, effects.packages, at=now, new_id=self._new_id)
        await queries.change_commands(session, list(effects.changes.values()))
        await write_after_commands(session, effects.commands, effects.changes, now)
        await write_moves(session, effects.moves)
        await queries.store_facts(session, list(effects.facts.values()))
        await ask_for_whole(session, self._clock, wanted)
        await write_host_effects(session, effects)
        await queries.note_agents(session, {agent: chain.confirmed for agent, chain in states.items()}, now)
        await write_events(session, effects.events)
        return Outcome(refused, {agent: chain.confirmed for agent, chain in states.items()}), fresh, effects

    def _follow(self, chain: Chain, one: ReadReport, effects: Effects) -> bool:
        """Take a report into its chain; return whether it can be stored: one number holds one report."""
        report = one.checked.report
        taken = report.rseq <= chain.confirmed or report.rseq in chain.ahead
        faults = chain.follow(
            report.rseq, one.checked.digest, report.prev, by_receipt_key=one.checked.by_receipt_key
        )
        for fault in faults:
            self._metrics.chain_faults.labels(fault.value).inc()
            fork = fault is ChainFault.FORK
            effects.event(
                Severity.CRITICAL if fork else Severity.WARNING,
                fault.value,
                report.agent,
                "a report does not follow from the one before it"
                if fork
                else "reports are missing before this one",
                {
                    "report": str(report.report),
                    "rseq": report.rseq,
                    "prev": report.prev,
                    "digest": one.checked.digest,
                    "stored": not taken,
                },
            )
        return not taken

    def _came_again(self, chain: Chain, one: ReadReport, first: datetime, effects: Effects) -> None:
        """Give up a gap when the host shows that it has nothing to fill it with."""
        report = one.checked.report
        lost = chain.give_up_gap(report.rseq, first=first, now=effects.at)
        if lost is not None:
            effects.event(
                Severity.WARNING,
                "report_gap_given_up",
                report.agent,
                f"reports {lost.start} to {lost.stop - 1} never came and the host does not have them any more",
                {"from": lost.start, "to": lost.stop - 1},
            )

    def _tell_refused(self, refused: list[Refusal], effects: Effects) -> None:
        counted = Counter((one.agent, one.error.code) for one in refused)
        details = {(one.agent, one.error.code): one.error.detail for one in refused}
        for (agent, code), count in counted.items():
            self._metrics.reports_refused.labels(code).inc(count)
            _log.warning(
                "ingest.refused", agent=str(agent), code=code, count=count, detail=details[agent, code]
            )
            effects.event(
                Severity.WARNING,
                "report_refused",
                agent or UUID(int=0),
                f"{count} {'report was' if count == 1 else 'reports were'} refused: {details[agent, code]}",
                {"code": code, "count": count, "agent": str(agent)},
            )

    def _count(self, fresh: list[ReadReport], effects: Effects) -> None:
        for kind, count in Counter(one.checked.report.kind.value for one in fresh).items():
            self._metrics.reports.labels(kind).inc(count)
        for (kind, state), count in effects.ended.items():
            self._metrics.commands.labels(kind, state).inc(count)
        for command, state in effects.states.items():
            row = effects.commands[command]
            _log.info(
                "ingest.command",
                op=None if row.op is None else str(row.op),
                command=str(command),
                agent=str(row.agent_id),
                kind=row.kind,
                state=state.value,
                result=effects.changes[command].result,
            )

    async def confirm(self, confirmed: dict[UUID, int]) -> None:
        """Publish the agents' highest contiguous numbers; a lost one costs a resend."""
        shards: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for agent, rseq in confirmed.items():
            shards[shard_of(agent)][agent.hex] = rseq
        for shard, numbers in shards.items():
            await self._nc.publish(done_subject(shard), json.dumps(numbers).encode())


def _behind(
    read: list[tuple[Pulled, ReadReport]], chains: dict[UUID, Chain], known: dict[UUID, KnownReport]
) -> list[tuple[UUID, int]]:
    """The numbers of reports that come after their number was confirmed: taken already, or given up before."""
    reports = (one.checked.report for _, one in read)
    return [
        (report.agent, report.rseq)
        for report in reports
        if report.report not in known and report.rseq <= chains[report.agent].confirmed
    ]


def chain_of(row: ChainRow) -> Chain:
    """The chain a row of the database stands for."""
    agent, receipt = row.agent_last or (0, None), row.receipt_last or (0, None)
    return Chain(
        confirmed=row.last_rseq,
        ahead=set(row.ahead),
        last_by_agent=agent[1],
        last_by_receipt=receipt[1],
        newest_by_agent=agent[0],
        newest_by_receipt=receipt[0],
    )


def _inbox(one: ReadReport, effects: Effects) -> InboxRow:
    report = one.checked.report
    return InboxRow(
        report_id=report.report,
        agent_id=report.agent,
        rseq=report.rseq,
        prev=report.prev,
        digest=one.checked.digest,
        kind=report.kind.value,
        cmd=report.cmd,
        state=None if report.state is None else report.state.value,
        received_at=effects.at,
        envelope=one.checked.envelope,
        body=one.checked.sealed or None,
    )
