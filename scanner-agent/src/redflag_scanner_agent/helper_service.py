"""The helper's side of the connection: what the network process may ask, and nothing else.

The network process is not trusted: it may be steered by whoever got through the network. Everything it brings is
verified here (`guard`, `trust`, `spool`), it gets no private key, and no request of it acts on the host but a
verified command.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from redflag_ops.logging import get_logger
from redflag_scanner_agent import guard, host_events
from redflag_scanner_agent.actions import Actions
from redflag_scanner_agent.errors import AgentError, IpcError
from redflag_scanner_agent.executor import Executor
from redflag_scanner_agent.facts import agent_version
from redflag_scanner_agent.fast_mode import FastMode
from redflag_scanner_agent.host_policy import load_policy
from redflag_scanner_agent.ipc import Channel, Message, split_blobs
from redflag_scanner_agent.journal import Journal
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.receipts import Receipts, Word, line
from redflag_scanner_agent.spool import Place, Signed, Spool
from redflag_scanner_agent.tombstones import Tombstones
from redflag_scanner_agent.trust import HostIdentity, Trust, TrustRefusedError
from redflag_wire import base64_strict
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import CommandState, Outcome, Report, ReportKind
from redflag_wire.report_bodies import HostEvent, ManagerCapability
from redflag_wire.report_framing import frame_reports

IN_FLIGHT_MAX = 16  # requests answered at the same time
INITIAL_INVENTORY = "initial_inventory"

log = get_logger()

Answer = tuple[dict[str, Any], bytes]
_OUTCOMES = {
    "expired": Outcome.EXPIRED,
    "cancelled": Outcome.CANCELLED,
}  # refusals whose result has a name of its own
_ALARMS = {"cmd_conflict", "signature", "fleet", "agent", "akt", "kind_key"}


class HelperService:
    """Answers the network process until it is gone.

    Args:
        channel: the connection.
        trust: keys, time and identity.
        journal: the commands.
        spool: the reports.
        receipts: writes reports.
        executor: carries commands out.
        actions: for looks that no command asked for.
        tombstones: commands that were cancelled before they came.
        fast_mode: whether the network process is to poll without pause.
        capabilities: of the package managers.
        receipt_key: this helper's public key.
        policy_file: read anew for every command.
        can_change: None, or why this host may only look.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        trust: Trust,
        journal: Journal,
        spool: Spool,
        receipts: Receipts,
        executor: Executor,
        actions: Actions,
        tombstones: Tombstones,
        fast_mode: FastMode,
        capabilities: list[ManagerCapability],
        receipt_key: PublicKey,
        policy_file: Path,
        can_change: str | None,
    ) -> None:
        self._channel = channel
        self._trust = trust
        self._journal = journal
        self._spool = spool
        self._receipts = receipts
        self._executor = executor
        self._actions = actions
        self._tombstones = tombstones
        self._fast_mode = fast_mode
        self._capabilities = capabilities
        self._receipt_key = receipt_key
        self._policy_file = policy_file
        self._can_change = can_change
        self._gate = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusals: Counter[str] = Counter()
        self._ops: dict[str, Callable[[Message], Awaitable[Answer]]] = {
            "hello": self._hello,
            "first_manifest": self._first_manifest,
            "manifest": self._manifest,
            "enrolled": self._enrolled,
            "beacon": self._beacon,
            "command": self._command,
            "reserve": self._reserve,
            "commit": self._commit,
            "pending": self._pending,
            "inventory": self._inventory,
            "event": self._event_of,
            "reports": self._reports,
            "confirmed": self._confirmed,
        }

    async def run(self) -> None:
        """Answer requests; return when the network process has closed its end.

        Raises:
            IpcError: it sent what no honest one sends.
        """
        try:
            while (message := await self._channel.receive()) is not None:
                await self._gate.acquire()
                task = asyncio.create_task(self._serve(message))
                self._tasks.add(task)
                task.add_done_callback(self._served)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def notify(self) -> None:
        """Tell the network process that there is something to send or to sign."""
        task = asyncio.create_task(self._notice())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._gate.release()

    async def _notice(self) -> None:
        try:
            await self._channel.send({"notice": "spool"})
        except IpcError:
            log.info("helper.peer_gone")

    async def _serve(self, message: Message) -> None:
        number, op = message.header.get("id"), message.header.get("op")
        handler = self._ops.get(str(op))
        try:
            if handler is None or not isinstance(number, int):
                raise IpcError("ipc_op", f"no such request: {line(str(op))}")
            answer, blob = await handler(message)
            await self._channel.send({"id": number, **answer}, blob)
        except (AgentError, WireError, PackageManagerError) as error:
            log.warning("helper.request_refused", op=str(op)[:64], code=error.code, detail=error.detail)
            try:
                await self._channel.send(
                    {"id": number, "error": {"code": error.code, "detail": error.detail}}
                )
            except IpcError:
                log.info("helper.peer_gone")

    async def _hello(self, _message: Message) -> Answer:
        identity, manifest = self._trust.identity, self._trust.manifest
        reserved = self._spool.reserved()
        answer: dict[str, Any] = {
            "receipt_pub": self._receipt_key.to_b64(),
            "fleet": None if manifest is None else manifest.fleet,
            "manifest_version": None if manifest is None else manifest.version,
            "agent": None if identity is None else str(identity.agent),
            "floor": self._journal.floor,
            "reserved": None if reserved is None else reserved.report,
            "facts_mark": self._spool.mark("facts"),
            "inventory_mark": self._spool.mark(INITIAL_INVENTORY),
            "capabilities": [one.model_dump(mode="json") for one in self._capabilities],
            "fast": self._fast(),
        }
        return answer, b""

    async def _first_manifest(self, message: Message) -> Answer:
        rootfp = base64_strict.decode(str(message.header.get("rootfp")))
        manifest = self._trust.begin(rootfp, split_blobs(message.blob))
        return {"fleet": manifest.fleet, "version": manifest.version}, b""

    async def _manifest(self, message: Message) -> Answer:
        try:
            manifest = self._trust.advance(split_blobs(message.blob))
        except TrustRefusedError as error:
            self._event(error.code, "critical", error.detail)
            raise
        log.info("manifest.taken", version=manifest.version)
        return {"fleet": manifest.fleet, "version": manifest.version}, b""

    async def _enrolled(self, message: Message) -> Answer:
        agent_key = PublicKey.from_b64(str(message.header.get("agent_pub")))
        enrolled = self._trust.enrol(message.blob, agent_key)
        self._receipts.event(host_events.enrolled(agent_version()))
        return {"agent": str(enrolled.agent)}, b""

    async def _beacon(self, message: Message) -> Answer:
        try:
            beacon = self._trust.observe(message.blob)
        except TrustRefusedError as error:
            self._event(error.code, "critical", error.detail)
            raise
        self._executor.time_known()
        version = None if beacon is None else beacon.manifest_version
        return {"manifest_version": version, "fast": self._fast()}, b""

    def _fast(self) -> bool:
        return self._fast_mode.state.active(self._trust.now())

    async def _command(self, message: Message) -> Answer:
        answer, blob = self._judged(message)
        # Whatever it was may have switched fast mode, and the network process is to follow at once.
        return {**answer, "fast": self._fast()}, blob

    def _judged(self, message: Message) -> Answer:
        identity = self._need_identity()
        manifest = self._trust.manifest
        if manifest is None:
            raise TrustRefusedError("manifest_missing", "no manifest is trusted yet")
        view = guard.View(
            fleet=identity.fleet,
            agent=identity.agent,
            akt=identity.agent_key.thumbprint,
            manifest=manifest,
            now=self._trust.now(),
            policy=load_policy(self._policy_file),
            can_change=self._can_change,
            journal=self._journal,
            spool_has_room=self._spool.has_room,
            is_cancelled=lambda cmd: self._tombstones.holds(cmd, self._trust.now()),
            agent_version=agent_version(),
            min_agent_version=self._trust.min_agent_version,
        )
        decision = guard.judge(message.blob, view)
        if isinstance(decision, guard.Refused):
            return self._refuse(decision, view.now)
        command = decision.about.command
        with structlog.contextvars.bound_contextvars(cmd=str(command.cmd), op=command.op and str(command.op)):
            if isinstance(decision, guard.Known):
                log.info("command.known", state=decision.entry.state.value)
                self._executor.answer_again(decision.entry)
                return {"verdict": "known", "ack": True}, b""
            self._executor.receive(decision.about)
            log.info("command.received", kind=command.kind.value, seq=command.seq)
        return {"verdict": "journaled", "ack": True}, b""

    def _refuse(self, refused: guard.Refused, now: datetime | None) -> Answer:
        self.refusals[refused.counter] += 1
        about = refused.about
        with structlog.contextvars.bound_contextvars(
            cmd=None if about is None else str(about.command.cmd),
            op=None if about is None or about.command.op is None else str(about.command.op),
        ):
            log.warning(
                "command.refused",
                step=refused.step.value,
                code=refused.code,
                detail=refused.detail,
                final=refused.final,
                count=self.refusals[refused.counter],
            )
        data: dict[str, Any] = {"step": refused.step.value, "count": self.refusals[refused.counter]}
        if about is not None:
            data["cmd"] = str(about.command.cmd)
        severity = "critical" if refused.code in _ALARMS else "warning"
        self._event(f"refused_{refused.code}", severity, refused.detail, data)
        if about is not None and refused.final:
            self._receipts.repeat(
                Word(
                    cmd=str(about.command.cmd),
                    cmd_digest=about.digest,
                    state=CommandState.DONE,
                    result=_OUTCOMES.get(refused.code, Outcome.REJECTED),
                    code=refused.code,
                    finished=now,
                )
            )
        verdict = "refused" if refused.final else "deferred"
        return {"verdict": verdict, "ack": refused.final, "code": refused.code}, b""

    def _event(self, code: str, severity: str, detail: str, data: dict[str, Any] | None = None) -> None:
        found = {
            "code": code,
            "severity": severity,
            "component": "helper",
            "message": line(detail),
            "data": data or {},
        }
        self._receipts.event(HostEvent.from_object(found))

    async def _reserve(self, message: Message) -> Answer:
        place = self._spool.reserve(str(message.header.get("report")))
        return {"rseq": place.rseq, "prev": place.prev}, b""

    async def _commit(self, message: Message) -> Answer:
        envelope, body = split_blobs(message.blob)
        identity = self._need_identity()
        verified = verify_envelope(parse_envelope(envelope), PayloadType.REPORT, [identity.agent_key])
        report = Report.from_bytes(verified.payload)
        if report.kind is ReportKind.COMMAND:
            raise IpcError("report_kind", "executions are signed by the receipt key")
        place = Place(str(report.report), report.rseq, report.prev)
        mark, pending = message.header.get("mark"), message.header.get("pending")
        self._spool.commit(
            place,
            Signed(envelope, digest(verified.payload)),
            body,
            mark=None if mark is None else (str(mark[0])[:64], str(mark[1])[:256]),
            pending=pending if isinstance(pending, int) else None,
        )
        return {}, b""

    async def _pending(self, _message: Message) -> Answer:
        pending = self._spool.first_pending()
        if pending is None:
            return {"pending": None}, b""
        ref = pending.ref.model_dump(mode="json")
        return {"pending": pending.id, "kind": pending.kind.value, "ref": ref}, pending.body

    async def _inventory(self, message: Message) -> Answer:
        """Look once at everything and leave the result as pending; for a new host's first report."""
        seen = await self._actions.look(refresh=message.header.get("refresh") is True)
        for body in seen.bodies:
            self._executor.send_beside(body, full=True)
        for subsystem, error in seen.faults.items():
            self._receipts.event(host_events.scan_failed(subsystem, error.code, error.detail))
        return {"inventories": len(seen.bodies)}, b""

    async def _event_of(self, message: Message) -> Answer:
        """Keep an event of the network process; bounded as the helper's own are."""
        event = HostEvent.from_bytes(message.blob)
        self._receipts.event(event.model_copy(update={"component": "agent"}))
        return {}, b""

    async def _reports(self, message: Message) -> Answer:
        after = message.header.get("after")
        reports, last = self._spool.batch(after if isinstance(after, int) else 0)
        return {"count": len(reports), "last": last}, frame_reports(reports) if reports else b""

    async def _confirmed(self, message: Message) -> Answer:
        rseq = message.header.get("rseq")
        gone = self._spool.confirm(rseq) if isinstance(rseq, int) else 0
        return {"gone": gone}, b""

    def _need_identity(self) -> HostIdentity:
        identity = self._trust.identity
        if identity is None:
            raise TrustRefusedError("not_enrolled", "this host has no identity yet")
        return identity
