"""Makes requested commands into signed ones: claim, check, number, sign, store; one transaction.

Guarantees: nothing is signed without a mandate (``mandate``), and one intent makes at most one command per agent; a
command's bytes are made once, and bytes, signing log, outbox row, state and event become visible together or not at
all; sequence numbers are given out under the lock of the agent's row. What has no mandate ends as ``cancelled`` with
cause ``intent_refused`` and a system event; what the fleet's limits do not admit yet stays ``requested`` and waits.
Cancels come first, know no limit, and are settled here where the host need not hear of them (``cancelling``). Two
signers share the rows by SKIP LOCKED.
"""

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import shard_of
from redflag_dispatcher.admission import Held, is_limited
from redflag_dispatcher.cancelling import Way
from redflag_dispatcher.command_build import Addressee, build_command
from redflag_dispatcher.command_moves import moves_of
from redflag_dispatcher.errors import IntentRefusedError
from redflag_dispatcher.fleet_limits import FleetLimits
from redflag_dispatcher.intent_check import CheckedIntent, check_intent
from redflag_dispatcher.keys import KeyRing
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.mandate import Known, Mandate, mandate_of, target_of, waited_too_long
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.settle import Settled, settle_cancels
from redflag_ops.logging import get_logger
from redflag_store.command_states import ServerState
from redflag_store.fleet_settings import FleetSettings
from redflag_store.queries import cancel_settle, signing
from redflag_store.queries.cancel_settle import EndRow
from redflag_store.queries.journal import EventRow, write_events, write_moves
from redflag_store.queries.signing import RequestedRow, SignedRow
from redflag_store.queries.subsystem_runs import scan_timeouts
from redflag_store.states import AgentState, Severity
from redflag_wire.clock import Clock
from redflag_wire.command import CommandKind
from redflag_wire.envelope import digest
from redflag_wire.errors import WireError
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope

BATCH = 200  # commands of one transaction
INTENTS_KEPT = 64  # verified intents remembered; a bulk intent is checked once, not once per batch
INTENT_KEPT_S = 60.0  # and for this long, so that a revoked intent key stops counting
CAUSE_SIGNED = "signed"
CAUSE_REFUSED = "intent_refused"
CAUSE_LATE = "not_admitted"

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Refused:
    row: RequestedRow
    error: IntentRefusedError


@dataclass(slots=True)
class _Batch:
    rows: list[RequestedRow]
    signed: list[SignedRow]
    refused: list[_Refused]
    late: list[RequestedRow]
    settled: Settled


class Signer:
    """One signer; ``step`` is one batch.

    Args:
        sessions: of the database.
        ring: the command key and the manifest.
        settings: the operators': limits and timeouts.
        fleet: this installation.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts what is signed and refused.
        signed: called after a batch with signed commands was committed; wakes the relay.
        random: source of nonces.
        batch: commands of one transaction.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        ring: KeyRing,
        settings: LiveSettings,
        *,
        fleet: str,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        signed: Callable[[], None],
        random: Callable[[int], bytes] = secrets.token_bytes,
        batch: int = BATCH,
    ) -> None:
        self._sessions = sessions
        self._ring = ring
        self._settings = settings
        self._limits = FleetLimits(sessions, settings, clock=clock)
        self._fleet = fleet
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._signed = signed
        self._random = random
        self._batch = batch
        self._intents: OrderedDict[UUID, tuple[float, CheckedIntent]] = OrderedDict()

    async def step(self) -> bool:
        """Sign one batch; return whether there may be more at once."""
        settings = await self._settings.current()
        async with self._sessions() as session, session.begin():
            claimed, more = await self._claim(session)
            if not claimed:
                return False
            rows = await self._admitted(claimed)
            batch = await self._batch_of(session, rows, settings)
            await self._store(session, batch, self._clock.now())
        self._tell(batch)
        if batch.signed:
            self._signed()
        return more or bool(batch.settled.all_of(Way.LATER))

    async def _claim(self, session: AsyncSession) -> tuple[list[RequestedRow], bool]:
        """Lock what may be signed; return it, and whether there may be more at once."""
        kinds = await signing.requested_kinds(session)
        if not kinds:
            self._show_held({})
            return [], False
        room = await self._limits.look(dict.fromkeys(kinds, 0))
        self._show_held(room.held)
        most = {kind: min(self._batch, room.kinds.get(kind, self._batch)) for kind in kinds}
        rows = await signing.claim_requested(session, {kind: n for kind, n in most.items() if n}, self._batch)
        return rows, len(rows) == self._batch

    async def _admitted(self, claimed: list[RequestedRow]) -> list[RequestedRow]:
        """Return the rows the limits admit; the others stay as they are."""
        left = await self._limits.take(Counter(row.kind for row in claimed if is_limited(row.kind)))
        rows = []
        for row in claimed:
            if is_limited(row.kind):
                if not left[row.kind]:
                    continue
                left[row.kind] -= 1
            rows.append(row)
        return rows

    def _show_held(self, held: dict[str, Held]) -> None:
        for kind in CommandKind:
            for reason in Held:
                self._metrics.commands_held.labels(kind.value, reason.value).set(
                    held.get(kind.value) is reason
                )

    async def _batch_of(
        self, session: AsyncSession, rows: list[RequestedRow], settings: FleetSettings
    ) -> _Batch:
        intents, broken = await self._load_intents(session, rows)
        agents = await signing.lock_agents(session, {row.agent_id for row in rows})
        used = await signing.used_intents(
            session, {row.intent_id for row in rows if row.intent_id is not None}, agents
        )
        targets = {row.id: target for row in rows if (target := target_of(row)) is not None}
        jobs = await cancel_settle.jobs_of(session, set(targets.values()))
        known = Known(intents, broken, agents, used, jobs)
        now = self._clock.now()
        refused: list[_Refused] = []
        late: list[RequestedRow] = []
        mandates = dict(self._mandates(rows, known, now, refused, late))
        active = {agent.id for agent in agents.values() if agent.state == AgentState.ACTIVE}
        cancels = {row.id: (row, targets[row.id]) for row in rows if row.id in targets and row.id in mandates}
        settled = await settle_cancels(session, cancels, active=active, at=now, new_id=self._new_id)
        refused.extend(
            _Refused(cancels[one][0], IntentRefusedError("cancel_target", settled.ways[one].why))
            for one in settled.all_of(Way.REFUSED)
        )
        todo = [
            (row, mandates[row.id])
            for row in rows
            if row.id in mandates
            and row.id not in settled.gone
            and (row.id not in settled.ways or settled.ways[row.id].way is Way.TRAVELS)
        ]
        timeouts = {row.id: settings.number(f"timeouts.{mandate.kind}_s") for row, mandate in todo}
        timeouts |= await scan_timeouts(
            session, [row.id for row, one in todo if one.kind is CommandKind.SCAN]
        )
        signed = await asyncio.to_thread(self._sign, todo, known, timeouts, now, refused)
        return _Batch(rows, signed, refused, late, settled)

    async def _load_intents(
        self, session: AsyncSession, rows: list[RequestedRow]
    ) -> tuple[dict[UUID, CheckedIntent], dict[UUID, IntentRefusedError]]:
        oldest = self._clock.monotonic() - INTENT_KEPT_S
        good: dict[UUID, CheckedIntent] = {}
        broken: dict[UUID, IntentRefusedError] = {}
        wanted: set[UUID] = set()
        for intent in {row.intent_id for row in rows if row.intent_id is not None}:
            kept = self._intents.get(intent)
            if kept is not None and kept[0] >= oldest:
                good[intent] = kept[1]
            else:
                wanted.add(intent)
        keys = self._ring.intent_keys(self._clock.now())
        for intent, envelope in (await signing.intent_envelopes(session, wanted)).items():
            try:
                good[intent] = await asyncio.to_thread(check_intent, envelope, keys, fleet=self._fleet)
            except IntentRefusedError as error:
                broken[intent] = error
                continue
            self._intents[intent] = (self._clock.monotonic(), good[intent])
            self._intents.move_to_end(intent)
            while len(self._intents) > INTENTS_KEPT:
                self._intents.popitem(last=False)
        return good, broken

    @staticmethod
    def _mandates(
        rows: list[RequestedRow],
        known: Known,
        now: datetime,
        refused: list[_Refused],
        late: list[RequestedRow],
    ) -> Iterator[tuple[UUID, Mandate]]:
        for row in rows:
            try:
                mandate = mandate_of(row, known, now)
            except IntentRefusedError as error:
                if error.code == "intent_expired" and waited_too_long(row, known):
                    late.append(row)
                else:
                    refused.append(_Refused(row, error))
                continue
            if row.intent_id is not None:
                known.used.add((row.intent_id, row.agent_id))
            yield row.id, mandate

    def _sign(
        self,
        todo: list[tuple[RequestedRow, Mandate]],
        known: Known,
        timeouts: dict[UUID, int],
        now: datetime,
        refused: list[_Refused],
    ) -> list[SignedRow]:
        signed: list[SignedRow] = []
        for row, mandate in todo:
            agent = known.agents[row.agent_id]  # a foreign key: it exists
            to = Addressee(agent.id, agent.akt, agent.last_seq, agent.seq_floor)
            try:
                made = self._make(row, mandate, to, timeouts[row.id], now)
            except IntentRefusedError as error:
                refused.append(_Refused(row, error))
                continue
            known.agents[row.agent_id] = replace(agent, last_seq=made.seq)
            signed.append(made)
        return signed

    def _make(
        self, row: RequestedRow, mandate: Mandate, to: Addressee, timeout_s: int, now: datetime
    ) -> SignedRow:
        key = self._ring.keys.command
        try:
            command = build_command(
                fleet=self._fleet,
                command=row.id,
                op=row.op,
                params=row.params,
                to=to,
                mandate=mandate,
                timeout_s=timeout_s,
                now=now,
                random=self._random,
                wave=row.wave,
                prev=row.prev,
            )
            payload = command.to_bytes()
            envelope = sign_envelope(PayloadType.COMMAND, payload, key).to_bytes()
        except WireError as error:
            raise IntentRefusedError("command_invalid", error.detail) from None
        return SignedRow(
            id=row.id,
            agent_id=row.agent_id,
            seq=command.seq,
            envelope=envelope,
            digest=digest(payload),
            keyid=key.public.keyid,
            nbf=command.nbf,
            exp=command.exp,
            max_runtime_s=command.pol.max_runtime or timeout_s,
            urgent=mandate.kind is CommandKind.CANCEL,
            shard=shard_of(row.agent_id),
            log_id=self._new_id(),
        )

    async def _store(
        self,
        session: AsyncSession,
        batch: _Batch,
        now: datetime,
    ) -> None:
        signed, refused = batch.signed, batch.refused
        await signing.store_signed(session, signed, now)
        await cancel_settle.write_ends(
            session,
            [
                *(_end(one.row, ServerState.CANCELLED, one.error.code) for one in refused),
                *(_end(row, ServerState.EXPIRED, CAUSE_LATE) for row in batch.late),
            ],
            now,
        )
        moves = [
            move
            for done in signed
            for move in moves_of(
                done.id,
                ServerState.REQUESTED,
                (ServerState.SIGNED,),
                CAUSE_SIGNED,
                at=now,
                new_id=self._new_id,
            )
        ]
        for one in refused:
            moves.extend(
                moves_of(
                    one.row.id,
                    ServerState.REQUESTED,
                    (ServerState.CANCELLED,),
                    CAUSE_REFUSED,
                    at=now,
                    new_id=self._new_id,
                    detail={"code": one.error.code, "detail": one.error.detail},
                )
            )
        for row in batch.late:
            steps = (ServerState.EXPIRED,)
            moves.extend(
                moves_of(row.id, ServerState.REQUESTED, steps, CAUSE_LATE, at=now, new_id=self._new_id)
            )
        await write_moves(session, [*batch.settled.moves, *moves])
        await write_events(
            session,
            [
                EventRow(
                    id=self._new_id(),
                    at=now,
                    severity=Severity.CRITICAL,
                    component="signer",
                    code=CAUSE_REFUSED,
                    message=f"a requested command is not covered by a signed intent: {one.error}",
                    agent_id=one.row.agent_id,
                    data={"command": str(one.row.id), "op": str(one.row.op), "code": one.error.code},
                )
                for one in refused
            ],
        )

    def _tell(self, batch: _Batch) -> None:
        signed, refused = batch.signed, batch.refused
        of = {row.id: row for row in batch.rows}
        for cancel, settlement in batch.settled.ways.items():
            op = of[cancel].op
            _log.info(
                "signer.cancel",
                op=None if op is None else str(op),
                command=str(cancel),
                target=str(of[cancel].params.get("cmd")),
                way=settlement.way.value,
            )
        for done in signed:
            self._metrics.commands.labels(of[done.id].kind, ServerState.SIGNED.value).inc()
        for op, count in Counter(of[done.id].op for done in signed).items():
            _log.info("signer.signed", op=None if op is None else str(op), count=count)
        for one in refused:
            self._metrics.intents_refused.labels(one.error.code).inc()
            _log.error(
                "signer.refused",
                op=None if one.row.op is None else str(one.row.op),
                command=str(one.row.id),
                agent=str(one.row.agent_id),
                code=one.error.code,
                detail=one.error.detail,
            )


def _end(row: RequestedRow, state: ServerState, code: str) -> EndRow:
    return EndRow(row.id, ServerState.REQUESTED.value, state.value, state.value, code)
