"""An agent in a few dozen bytes: real keys, signatures and messages over HTTP, and a count instead of an effect.

It is not the agent's code. It speaks the protocol from docs/protocol.md so that thousands fit in one process, and it
records every command it was given, so that a test can say what was lost and what came twice.
"""

import asyncio
import base64
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from redflag_wire import base64_strict
from redflag_wire.clock import Clock
from redflag_wire.command import Command
from redflag_wire.command_params import CancelParams
from redflag_wire.enrolment import Enrolled, EnrollRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.http_signature import RequestParts, Tag, content_digest, sign_request
from redflag_wire.ids import new_id
from redflag_wire.manifest import KeyManifest
from redflag_wire.manifest_chain import verify_first, walk
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.report import CommandState, Outcome, Report, ReportKind
from redflag_wire.report_framing import frame_reports
from redflag_wire.signing import SigningKey, sign_envelope

REQUEST_DEADLINE = aiohttp.ClientTimeout(total=90)
JSON_TYPE = "application/json"
REPORTS_TYPE = "application/vnd.redflag.reports.v1"


class CallFailedError(Exception):
    """The gateway answered with a status the simulated agent did not ask for."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:300]}")
        self.status = status
        self.body = body


@dataclass
class SimulatedAgent:
    """One host: its keys, its identity once enrolled, and what it was told to do.

    Args:
        session: shared by all agents of a test.
        origin: the gateway's public origin.
        clock: for ids and signature times.
        number: makes the machine id and the host's name.
    """

    session: aiohttp.ClientSession
    origin: str
    clock: Clock
    number: int
    agent_key: SigningKey = field(default_factory=lambda: SigningKey.generate(secrets.token_bytes))
    receipt_key: SigningKey = field(default_factory=lambda: SigningKey.generate(secrets.token_bytes))
    agent_id: UUID | None = None
    fleet: str = ""
    access_token: str = ""
    manifest: KeyManifest | None = None
    nonce: str = ""
    rseq: int = 0
    prev: str | None = None
    done: dict[UUID, str] = field(default_factory=dict)
    deliveries: Counter[UUID] = field(default_factory=Counter)
    cancelled: set[UUID] = field(default_factory=set)

    async def enrol(self, token: EnrolmentToken) -> None:
        """Take a seat of the token and keep the identity the server gives.

        Raises:
            CallFailedError: the server refused.
        """
        keys = await self._call("GET", "/keys", signed=False)
        chain = [json.dumps(one).encode() for one in keys["manifests"]]
        first = verify_first(chain[0], token.rootfp)
        self.manifest = walk(first, chain[1:])
        self.fleet = self.manifest.fleet
        challenge = (await self._call("GET", "/enroll/challenge", signed=False))["challenge"]
        request = EnrollRequest(
            v=1,
            fleet=self.fleet,
            token_id=token.token_id,
            challenge=challenge,
            agent_pub=self.agent_key.public.to_b64(),
            receipt_pub=self.receipt_key.public.to_b64(),
            machine_id=f"{self.number:064x}",
            facts={
                "hostname": f"sim-{self.number:05d}",
                "os_id": "debian",
                "os_name": "Debian GNU/Linux",
                "os_version": "12",
                "arch": "amd64",
                "kernel": "6.1.0",
                "agent_version": "0.1.0",
            },
        )
        envelope = sign_envelope(PayloadType.ENROLL, request.to_bytes(), token.signing_key, self.agent_key)
        answer = await self._call("POST", "/enroll", body=envelope.to_bytes(), signed=False)
        enrolled = parse_envelope(json.dumps(answer["enrolled"]).encode())
        verified = verify_envelope(
            enrolled, PayloadType.ENROLLED, self.manifest.keys_for(KeyUse.ACCESS, self.clock.now())
        )
        identity = Enrolled.from_bytes(verified.payload)
        self.agent_id = identity.agent
        self.access_token = identity.access_token

    async def poll(self, wait_s: int = 0) -> dict[str, Any]:
        """Ask for commands once; answer the gateway's whole answer."""
        return await self._call("GET", f"/commands?wait={wait_s}")

    async def work(self, answer: dict[str, Any]) -> int:
        """Verify, count, report and acknowledge the commands of one answer; return how many there were."""
        reports: list[tuple[bytes, bytes]] = []
        handles = []
        for item in answer["commands"]:
            command, command_digest = self._verify(json.dumps(item["envelope"]).encode())
            handles.append(item["handle"])
            self.deliveries[command.cmd] += 1
            if command.cmd not in self.done:
                self.done[command.cmd] = command_digest
                reports.extend((one, b"") for one in self._carried_out(command, command_digest))
        if reports:
            await self._call(
                "POST", "/reports", body=frame_reports(reports), content_type=REPORTS_TYPE, expect=202
            )
        if handles:
            await self._call("POST", "/commands/ack", body=json.dumps({"handles": handles}).encode())
        return len(handles)

    def _carried_out(self, command: Command, command_digest: str) -> list[bytes]:
        """Everything succeeds at once, but for cancels, which find their target done or not yet there."""
        if command.cmd in self.cancelled:
            return [self._report(command, command_digest, CommandState.DONE, Outcome.CANCELLED, "cancelled")]
        result, code = Outcome.SUCCEEDED, None
        params = command.typed_params
        if isinstance(params, CancelParams):
            self.cancelled.add(params.cmd)
            if params.cmd in self.done:
                result, code = Outcome.FAILED, "too_late"
        states = (CommandState.RECEIVED, CommandState.STARTED)
        told = [self._report(command, command_digest, state) for state in states]
        return [*told, self._report(command, command_digest, CommandState.DONE, result, code)]

    def _verify(self, data: bytes) -> tuple[Command, str]:
        assert self.manifest is not None
        keys = self.manifest.keys_for(KeyUse.COMMAND, self.clock.now())
        verified = verify_envelope(parse_envelope(data), PayloadType.COMMAND, keys)
        command = Command.from_bytes(verified.payload)
        assert command.agent == self.agent_id
        return command, digest(verified.payload)

    def _report(
        self,
        command: Command,
        command_digest: str,
        state: CommandState,
        result: Outcome | None = None,
        code: str | None = None,
    ) -> bytes:
        assert self.agent_id is not None
        self.rseq += 1
        now = self.clock.now()
        done = state is CommandState.DONE
        report = Report(
            v=1,
            fleet=self.fleet,
            agent=self.agent_id,
            akt=self.agent_key.public.thumbprint,
            report=new_id(self.clock, secrets.token_bytes),
            rseq=self.rseq,
            prev=self.prev,
            at_mono=int(self.clock.monotonic() * 1000),
            boot_id="00000000-0000-0000-0000-000000000000",
            kind=ReportKind.COMMAND,
            cmd=command.cmd,
            cmd_digest=command_digest,
            state=state,
            result=result,
            code=code,
            plan_digest=None,
            started=now,
            finished=now if done else None,
            at=now,
            body=None,
        )
        payload = report.to_bytes()
        self.prev = digest(payload)
        return sign_envelope(PayloadType.REPORT, payload, self.receipt_key).to_bytes()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        content_type: str = JSON_TYPE,
        signed: bool = True,
        expect: int = 200,
    ) -> dict[str, Any]:
        for _ in range(2):
            url = f"{self.origin}/agent/v1{path}"
            headers = {"Content-Type": content_type}
            if signed:
                headers |= self._signature(method, url, body, content_type)
            async with self.session.request(
                method, url, data=body, headers=headers, timeout=REQUEST_DEADLINE
            ) as answer:
                self.nonce = answer.headers.get("RF-Nonce", self.nonce)
                text = await answer.text()
                if answer.status == expect:
                    parsed: dict[str, Any] = json.loads(text)
                    return parsed
                if answer.status != 401 or "nonce_stale" not in text:
                    raise CallFailedError(answer.status, text)
        raise CallFailedError(answer.status, text)

    def _signature(self, method: str, url: str, body: bytes, content_type: str) -> dict[str, str]:
        parts = RequestParts(
            method=method,
            target_uri=url,
            content_type=content_type,
            content_digest=content_digest(body),
            rf_nonce=self.nonce or "none",
            authorization=f"Bearer {self.access_token}",
        )
        signature_input, signature = sign_request(
            parts,
            signer=self.agent_key.sign,
            keyid=self.agent_key.public.thumbprint,
            created=int(self.clock.now().timestamp()),
            nonce=base64_strict.encode(secrets.token_bytes(16)),
            tag=Tag.AGENT,
        )
        return {
            "Content-Digest": parts.content_digest,
            "RF-Nonce": parts.rf_nonce,
            "Authorization": parts.authorization or "",
            "Signature-Input": signature_input,
            "Signature": signature,
        }


async def in_groups(agents: Sequence[Any], act: Any, at_once: int = 32) -> None:
    """Call ``act`` for each agent, at most ``at_once`` at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(agent: SimulatedAgent) -> None:
        async with gate:
            await act(agent)

    await asyncio.gather(*(one(agent) for agent in agents))


def command_key_of(manifest_file: bytes) -> bytes:
    """Return the raw command key out of a manifest envelope, without checking anything."""
    payload = json.loads(base64.b64decode(json.loads(manifest_file)["payload"]))
    (key,) = [one for one in payload["keys"] if one["use"] == "command"]
    return base64.b64decode(key["pub"])
