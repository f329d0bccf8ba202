"""A gateway for tests of the agent: one process, no broker, everything in lists, the real checks of requests.

It verifies every signature, nonce and token as the real one must, so that an agent that talks to it talks right.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from redflag_wire import base64_strict
from redflag_wire.enrolment import ConfirmRequest, EnrollRequest, RenewRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import digest, parse_envelope, verified_signers, verify_envelope
from redflag_wire.http_signature import RequestParts, Tag, check_content_digest, verify_request
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import CommandState, Report, ReportKind
from redflag_wire.report_bodies import Body, parse_body
from redflag_wire.report_body_codec import open_body
from redflag_wire.report_framing import split_reports
from tests.support.agent_fleet import Fleet, as_object

PREFIX = "/agent/v1"


def _token(life_s: int = 3600) -> str:
    """An access token by its looks; the agent reads its times and no more."""
    now = int(time.time())
    claims = json.dumps({"iat": now, "exp": now + life_s, "jti": secrets.token_hex(8)}).encode()
    return f"e30.{base64_strict.encode_url(claims)}.AAAA"


class StandInGateway:
    """Serves one agent of one fleet.

    Attributes:
        queue: envelopes to hand out, each with its handle, until it is acknowledged.
        acked: handles acknowledged.
        reports: every report stored, by id, in order of arrival.
        bodies: their decoded bodies.
        changed: set after every report and acknowledgement.
        confirm: whether polls confirm what is stored.
        confirmed_told: the number the last poll confirmed.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.token: EnrolmentToken = fleet.token()
        self.agent: UUID = uuid4()
        self.agent_key: PublicKey | None = None
        self.receipt_key: PublicKey | None = None
        self.machine_id = ""
        self.nonce = secrets.token_hex(8)
        self.gen, self.issued = 0, 0
        self.secrets: dict[int, str] = {}
        self.access_token = _token()
        self.refuse_token = False
        self.expire_token = False
        self.drop_reports = 0
        self.confirm = True
        self.confirmed_told = 0
        self.queue: dict[str, bytes] = {}
        self.acked: list[str] = []
        self.reports: dict[UUID, Report] = {}
        self.bodies: dict[UUID, Body] = {}
        self.report_bytes: dict[UUID, bytes] = {}
        self.posts = 0
        self.calls: list[str] = []
        self.changed = asyncio.Event()
        self.wake = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        add = app.router.add_route
        add("GET", PREFIX + "/keys", self._keys)
        add("GET", PREFIX + "/enroll/challenge", self._challenge)
        add("POST", PREFIX + "/enroll", self._enroll)
        add("POST", PREFIX + "/renew", self._renew)
        add("POST", PREFIX + "/renew/confirm", self._confirm_renewal)
        add("GET", PREFIX + "/commands", self._commands)
        add("POST", PREFIX + "/commands/ack", self._ack)
        add("POST", PREFIX + "/reports", self._reports)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        self.wake.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def send(self, envelope: bytes) -> str:
        handle = secrets.token_hex(8)
        self.queue[handle] = envelope
        self.wake.set()
        return handle

    def of(self, cmd: UUID) -> list[Report]:
        return [report for report in self.reports.values() if report.cmd == cmd]

    def done(self, cmd: UUID) -> Report | None:
        return next((one for one in self.of(cmd) if one.state is CommandState.DONE), None)

    async def until(self, condition: Callable[[], Any], deadline_s: float = 20.0) -> Any:
        async with asyncio.timeout(deadline_s):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
            return found

    def _answer(self, found: object, status: int = 200) -> web.Response:
        self.changed.set()
        return web.json_response(found, status=status, headers={"RF-Nonce": self.nonce})

    def _refuse(self, status: int, code: str) -> web.Response:
        return self._answer(
            {"type": "about:blank", "title": code, "status": status, "code": code, "detail": code}, status
        )

    async def _check(self, request: web.Request, tag: Tag) -> web.Response | None:
        self.calls.append(f"{request.method} {request.path}")
        body = await request.read()
        headers = request.headers
        check_content_digest(headers["Content-Digest"], body)
        assert self.agent_key is not None
        parts = RequestParts(
            method=request.method,
            target_uri=self.url + request.raw_path,
            content_type=headers["Content-Type"],
            content_digest=headers["Content-Digest"],
            rf_nonce=headers["RF-Nonce"],
            authorization=headers.get("Authorization"),
        )
        verify_request(parts, headers["Signature-Input"], headers["Signature"], tag=tag, key=self.agent_key)
        if headers["RF-Nonce"] != self.nonce:
            return self._refuse(401, "nonce_stale")
        if tag is Tag.AGENT:
            if headers["Authorization"] != f"Bearer {self.access_token}":
                return self._refuse(401, "token")
            if self.expire_token:
                self.expire_token = False
                self.access_token = _token()
                return self._refuse(401, "token_expired")
        return None

    async def _keys(self, _request: web.Request) -> web.Response:
        return self._answer({"manifests": [as_object(self.fleet.manifest_envelope)]})

    async def _challenge(self, _request: web.Request) -> web.Response:
        return self._answer({"challenge": "challenge-text"})

    async def _enroll(self, request: web.Request) -> web.Response:
        self.calls.append("POST /enroll")
        if self.refuse_token:
            return self._refuse(403, "enrolment_refused")
        envelope = parse_envelope(await request.read())
        found = EnrollRequest.from_bytes(envelope.payload)
        self.agent_key = PublicKey.from_b64(found.agent_pub)
        self.receipt_key = PublicKey.from_b64(found.receipt_pub)
        self.machine_id = found.machine_id
        assert envelope.payload_type == PayloadType.ENROLL
        assert verified_signers(envelope, [self.token.public, self.agent_key]) == {
            self.token.public,
            self.agent_key,
        }
        assert (found.token_id, found.challenge, found.fleet) == (
            self.token.token_id,
            "challenge-text",
            self.fleet.id,
        )
        self.issued = 1
        self.secrets[1] = base64_strict.encode(secrets.token_bytes(32))
        enrolled = self.fleet.enrolled(
            found.token_id,
            self.agent,
            found.agent_pub,
            found.receipt_pub,
            renewal_secret=self.secrets[1],
            access_token=self.access_token,
        )
        return self._answer({"enrolled": as_object(enrolled)})

    async def _renew(self, request: web.Request) -> web.Response:
        if (refused := await self._check(request, Tag.RENEW)) is not None:
            return refused
        found = RenewRequest.from_bytes(await request.read())
        if found.machine_id != self.machine_id or self.secrets.get(found.gen) != found.secret:
            return self._refuse(403, "secret")
        if found.gen < self.gen:
            return self._refuse(403, "generation_ended")
        self.gen, self.issued = found.gen, found.gen + 1
        self.secrets[self.issued] = base64_strict.encode(secrets.token_bytes(32))
        self.access_token = _token()
        return self._answer(
            {"access_token": self.access_token, "gen": self.issued, "secret": self.secrets[self.issued]}
        )

    async def _confirm_renewal(self, request: web.Request) -> web.Response:
        if (refused := await self._check(request, Tag.RENEW)) is not None:
            return refused
        found = ConfirmRequest.from_bytes(await request.read())
        if self.secrets.get(found.gen) != found.secret:
            return self._refuse(403, "secret")
        self.gen = found.gen
        return self._answer({"gen": found.gen})

    async def _commands(self, request: web.Request) -> web.Response:
        if (refused := await self._check(request, Tag.AGENT)) is not None:
            return refused
        if not self.queue and request.query["wait"] != "0":
            self.wake.clear()
            try:
                async with asyncio.timeout(float(request.query["wait"])):
                    await self.wake.wait()
            except TimeoutError:
                self.wake.clear()
        confirmed = self._contiguous() if self.confirm else None
        self.confirmed_told = confirmed or 0
        return self._answer(
            {
                "commands": [
                    {"envelope": as_object(envelope), "handle": handle}
                    for handle, envelope in self.queue.items()
                ],
                "beacon": as_object(self.fleet.beacon()),
                "confirmed_rseq": confirmed,
                "next_poll_s": 300,
            }
        )

    def _contiguous(self) -> int:
        numbers = {report.rseq for report in self.reports.values()}
        last = 0
        while last + 1 in numbers:
            last += 1
        return last

    async def _ack(self, request: web.Request) -> web.Response:
        if (refused := await self._check(request, Tag.AGENT)) is not None:
            return refused
        handles = (await request.json())["handles"]
        for handle in handles:
            self.queue.pop(handle, None)
            self.acked.append(handle)
        return self._answer({"acked": len(handles)})

    async def _reports(self, request: web.Request) -> web.Response:
        if (refused := await self._check(request, Tag.AGENT)) is not None:
            return refused
        self.posts += 1
        if self.drop_reports:
            self.drop_reports -= 1
            return self._refuse(503, "broker_away")
        stored = 0
        assert self.agent_key is not None
        assert self.receipt_key is not None
        for envelope_bytes, sealed in split_reports(await request.read()):
            envelope = parse_envelope(envelope_bytes)
            verified = verify_envelope(envelope, PayloadType.REPORT, [self.agent_key, self.receipt_key])
            report = Report.from_bytes(verified.payload)
            wanted = self.receipt_key if report.kind is ReportKind.COMMAND else self.agent_key
            assert verified.key == wanted
            assert (report.agent, report.akt) == (self.agent, self.agent_key.thumbprint)
            if report.report in self.reports:
                assert self.report_bytes[report.report] == verified.payload
            self.reports[report.report] = report
            self.report_bytes[report.report] = verified.payload
            if report.body is not None:
                self.bodies[report.report] = parse_body(open_body(sealed, report.body))
            stored += 1
        return self._answer({"stored": stored}, 202)

    def check_chain(self) -> None:
        """Every number once and without gaps; each key's reports name the one before."""
        in_order = sorted(self.reports.values(), key=lambda one: one.rseq)
        assert [one.rseq for one in in_order] == list(range(1, len(in_order) + 1))
        last: dict[bool, str | None] = {True: None, False: None}
        for one in in_order:
            by_receipt = one.kind is ReportKind.COMMAND
            assert one.prev == last[by_receipt], one
            last[by_receipt] = digest(self.report_bytes[one.report])
