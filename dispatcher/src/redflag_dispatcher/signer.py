"""Makes requested commands into signed ones: claim, check against the intent, number, sign, store; one transaction.

Guarantees: nothing is signed that ``intent_check`` does not pass, and one intent makes at most one command per
agent; a command's bytes are made once, and bytes, signing log, outbox row, state and event become visible together
or not at all; sequence numbers are given out under the lock of the agent's row. What does not pass ends as
``cancelled`` with cause ``intent_refused`` and a system event. Two signers share the rows by SKIP LOCKED.
"""

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import shard_of
from redflag_dispatcher.command_build import Addressee, build_command
from redflag_dispatcher.command_moves import moves_of
from redflag_dispatcher.errors import IntentRefusedError
from redflag_dispatcher.intent_check import CheckedIntent, RequestedCommand, check_command, check_intent
from redflag_dispatcher.keys import KeyRing
from redflag_dispatcher.metrics import Metrics
from redflag_ops.logging import get_logger
from redflag_store.command_states import ServerState
from redflag_store.queries import signing
from redflag_store.queries.journal import EventRow, write_events, write_moves
from redflag_store.queries.signing import AgentRow, RequestedRow, SignedRow
from redflag_store.states import AgentState, Severity
from redflag_wire.clock import Clock
from redflag_wire.envelope import digest
from redflag_wire.errors import WireError
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope

BATCH = 200  # commands of one transaction
INTENTS_KEPT = 64  # verified intents remembered; a bulk intent is checked once, not once per batch
INTENT_KEPT_S = 60.0  # and for this long, so that a revoked intent key stops counting
CAUSE_SIGNED = "signed"
CAUSE_REFUSED = "intent_refused"

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Refused:
    row: RequestedRow
    error: IntentRefusedError


@dataclass(slots=True)
class _Known:
    """What a batch is held against: verified intents, refused ones, locked agents, intents already spent."""

    intents: dict[UUID, CheckedIntent]
    broken: dict[UUID, IntentRefusedError]
    agents: dict[UUID, AgentRow]
    used: set[tuple[UUID, UUID]]


class Signer:
    """One signer; ``step`` is one batch.

    Args:
        sessions: of the database.
        ring: the command key and the manifest.
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
        async with self._sessions() as session, session.begin():
            rows = await signing.claim_requested(session, self._batch)
            if not rows:
                return False
            intents, broken = await self._load_intents(session, rows)
            agents = await signing.lock_agents(session, {row.agent_id for row in rows})
            used = await signing.used_intents(
                session, {row.intent_id for row in rows if row.intent_id is not None}, agents
            )
            now = self._clock.now()
            known = _Known(intents, broken, agents, used)
            signed, refused = await asyncio.to_thread(self._sign, rows, known, now)
            await self._store(session, rows, signed, refused, now)
        self._tell(rows, signed, refused)
        if signed:
            self._signed()
        return len(rows) == self._batch

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

    def _sign(
        self, rows: list[RequestedRow], known: _Known, now: datetime
    ) -> tuple[list[SignedRow], list[_Refused]]:
        signed: list[SignedRow] = []
        refused: list[_Refused] = []
        for row in rows:
            agent = known.agents[row.agent_id]  # a foreign key: it exists
            try:
                intent = self._intent_of(row, known)
                made = self._make(row, intent, agent, now)
            except IntentRefusedError as error:
                refused.append(_Refused(row, error))
                continue
            known.agents[row.agent_id] = replace(agent, last_seq=made.seq)
            known.used.add((intent.intent.intent, row.agent_id))
            signed.append(made)
        return signed, refused

    @staticmethod
    def _intent_of(row: RequestedRow, known: _Known) -> CheckedIntent:
        state = known.agents[row.agent_id].state
        if state != AgentState.ACTIVE:
            raise IntentRefusedError("agent_not_active", f"the agent is {state}")
        if row.intent_id is None:
            raise IntentRefusedError("intent_missing", "the row names no intent")
        if row.intent_id in known.broken:
            raise known.broken[row.intent_id]
        intent = known.intents.get(row.intent_id)
        if intent is None:
            raise IntentRefusedError("intent_missing", f"there is no intent {row.intent_id}")
        if (row.intent_id, row.agent_id) in known.used:
            # Otherwise a copied row would spend one signature of an operator twice.
            raise IntentRefusedError("intent_used", "this intent already made a command for this agent")
        return intent

    def _make(self, row: RequestedRow, intent: CheckedIntent, agent: AgentRow, now: datetime) -> SignedRow:
        wanted = RequestedCommand(row.id, row.agent_id, row.intent_id, row.kind, row.params)
        kind = check_command(intent, wanted, now=now)
        key = self._ring.keys.command
        try:
            command = build_command(
                fleet=self._fleet,
                command=row.id,
                op=row.op,
                kind=kind,
                params=row.params,
                to=Addressee(agent.id, agent.akt, agent.last_seq, agent.seq_floor),
                intent=intent,
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
            shard=shard_of(row.agent_id),
            log_id=self._new_id(),
        )

    async def _store(
        self,
        session: AsyncSession,
        rows: list[RequestedRow],
        signed: list[SignedRow],
        refused: list[_Refused],
        now: datetime,
    ) -> None:
        await signing.store_signed(session, signed, now)
        await signing.cancel_requested(session, [(one.row.id, one.error.code) for one in refused], now)
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
        await write_moves(session, moves)
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

    def _tell(self, rows: list[RequestedRow], signed: list[SignedRow], refused: list[_Refused]) -> None:
        of = {row.id: row for row in rows}
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
