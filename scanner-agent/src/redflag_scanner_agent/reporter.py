"""Reports signed with the agent key, and the way of all reports to the server (docs/protocol.md 6).

Guarantees:
1. A report's number is reserved before it is signed, and its bytes are in the helper's spool before they are sent.
2. A number that was reserved when this process died is filled by an event at the next start: numbers have no gaps.
3. What was sent is sent again until the server has confirmed it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable

from redflag_ops.logging import get_logger
from redflag_scanner_agent import facts
from redflag_scanner_agent.connection import REPORTS_TYPE, UPLOAD_DEADLINE_S, Call
from redflag_scanner_agent.errors import HelperRefusedError
from redflag_scanner_agent.helper_client import Hello, HelperClient
from redflag_scanner_agent.renewal import Access
from redflag_wire.clock import Clock
from redflag_wire.http_signature import Tag
from redflag_wire.ids import new_id, parse_id
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import BodyRef, Report, ReportKind
from redflag_wire.report_bodies import HostEvent, ManagerCapability
from redflag_wire.report_body_codec import seal_body
from redflag_wire.signing import SigningKey, sign_envelope

RESEND_S = 60.0  # seconds after which a poll that does not confirm what was sent has it sent again
PENDING_AT_ONCE = 64  # bodies signed between two batches
FIRST_INVENTORY = "initial_inventory"

log = get_logger()


class Reporter:
    """Signs, keeps and sends reports.

    Args:
        helper: keeps them.
        access: sends them.
        key: the agent key.
        fleet: the installation.
        agent: the host's id, canonical text.
        clock: for ids and the informational times.
        boot_id: of this boot.
        random: source of the ids' random bits.
    """

    def __init__(
        self,
        *,
        helper: HelperClient,
        access: Access,
        key: SigningKey,
        fleet: str,
        agent: str,
        clock: Clock,
        boot_id: str,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._helper = helper
        self._access = access
        self._key = key
        self._fleet = fleet
        self._agent = parse_id(agent)
        self._clock = clock
        self._boot_id = boot_id
        self._random = random
        self._chain = asyncio.Lock()  # one report of this key at a time: each names the one before
        self._sent = 0  # highest number sent since the start
        self._sent_at = 0.0

    async def add(
        self,
        kind: ReportKind,
        ref: BodyRef,
        sealed: bytes,
        *,
        code: str | None = None,
        mark: tuple[str, str] | None = None,
        pending: int | None = None,
    ) -> None:
        """Number, sign and keep a report.

        Args:
            kind: anything but an execution.
            ref: names the body's bytes.
            sealed: those bytes.
            code: of an event.
            mark: kept by the helper with the report.
            pending: the helper's body this is.

        Raises:
            AgentError: the helper refused or is gone.
        """
        async with self._chain:
            try:
                await self._place(kind, ref, sealed, code=code, mark=mark, pending=pending)
            except HelperRefusedError as error:
                if error.code != "reservation_open":
                    raise
                # An earlier report got a number and, for want of disk or time, no bytes.
                await self._fill((await self._helper.hello()).reserved)
                await self._place(kind, ref, sealed, code=code, mark=mark, pending=pending)

    async def _place(
        self,
        kind: ReportKind,
        ref: BodyRef,
        sealed: bytes,
        *,
        code: str | None,
        mark: tuple[str, str] | None = None,
        pending: int | None = None,
        report: str | None = None,
    ) -> None:
        report_id = report or str(new_id(self._clock, self._random))
        rseq, prev = await self._helper.reserve(report_id)
        payload = Report(
            fleet=self._fleet,
            agent=self._agent,
            akt=self._key.public.thumbprint,
            report=parse_id(report_id),
            rseq=rseq,
            prev=prev,
            at_mono=int(self._clock.monotonic() * 1000),
            boot_id=self._boot_id,
            kind=kind,
            code=code,
            at=self._clock.now(),
            body=ref,
        ).to_bytes()
        envelope = sign_envelope(PayloadType.REPORT, payload, self._key).to_bytes()
        await self._helper.commit(envelope, sealed, mark=mark, pending=pending)

    async def begin(self, hello: Hello) -> None:
        """Fill what a crash left open, then report the facts if they are new.

        Raises:
            AgentError: the helper refused or is gone, or a fact is missing.
        """
        async with self._chain:
            await self._fill(hello.reserved)
        try:
            await self.facts(hello.capabilities, hello.facts_mark)
        except HelperRefusedError as error:
            # A full spool must not keep the agent from emptying it; the facts are looked at again later.
            log.warning("facts.not_kept", code=error.code, detail=error.detail)

    async def _fill(self, reserved: str | None) -> None:
        if reserved is None:
            return
        event = HostEvent(
            code="report_lost",
            severity="warning",
            component="agent",
            message="the agent was stopped while it wrote this report",
        )
        ref, sealed = seal_body(event.to_bytes())
        await self._place(ReportKind.EVENT, ref, sealed, code=event.code, report=reserved)

    async def facts(self, capabilities: list[ManagerCapability], mark: str | None) -> None:
        """Report what this host is, unless exactly that was reported before."""
        data = facts.collect(capabilities).to_bytes()
        now = hashlib.sha256(data).hexdigest()
        if now != mark:
            ref, sealed = seal_body(data)
            await self.add(ReportKind.FACTS, ref, sealed, mark=("facts", now))

    async def first_inventory(self) -> None:
        """Have the helper look once, so that a new host shows its updates without being asked."""
        try:
            found = await self._helper.look(refresh=True)
            await self._first_inventory_done(found)
        except HelperRefusedError as error:
            # The next start tries again; scans that are asked for say what is wrong.
            log.warning("inventory.first_failed", code=error.code, detail=error.detail)

    async def _first_inventory_done(self, found: int) -> None:
        event = HostEvent(
            code="first_look",
            severity="info",
            component="agent",
            message="the agent looked at this host for the first time",
            data={"bodies": found},
        )
        ref, sealed = seal_body(event.to_bytes())
        await self.add(ReportKind.EVENT, ref, sealed, code=event.code, mark=(FIRST_INVENTORY, self._boot_id))

    async def sign_pending(self) -> None:
        """Sign what the helper could not sign itself."""
        for _ in range(PENDING_AT_ONCE):
            waiting = await self._helper.pending()
            if waiting is None:
                return
            about, sealed = waiting
            await self.add(about.kind, about.ref, sealed, pending=about.id)

    async def send(self) -> int:
        """Send what is ready and was not sent yet; return how many batches that took.

        Raises:
            ServerUnreachableError: not now.
            RequestRefusedByServerError: the server refuses the batch.
            AgentError: the helper is gone.
        """
        batches = 0
        while True:
            last, framed = await self._helper.reports(self._sent)
            if not framed:
                return batches
            call = Call(
                method="POST",
                path="/reports",
                body=framed,
                content_type=REPORTS_TYPE,
                tag=Tag.AGENT,
                deadline_s=UPLOAD_DEADLINE_S,
            )
            await self._access.call(call)
            log.info("reports.sent", last=last, bytes=len(framed))
            self._sent, self._sent_at = last, self._clock.monotonic()
            batches += 1

    async def confirmed(self, rseq: int | None) -> None:
        """Take the server's word up to which number it has everything; have the rest sent again after a while."""
        if rseq is not None:
            await self._helper.confirmed(rseq)
        known = rseq or 0
        if self._sent > known and self._clock.monotonic() - self._sent_at >= RESEND_S:
            self._sent = known
            self._helper.spool_changed.set()
