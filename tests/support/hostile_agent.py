"""A simulated agent that can also send what no honest agent sends: raw requests, spoilt signatures, odd bodies."""

import gzip
import hashlib
import io
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redflag_wire.envelope import digest
from redflag_wire.ids import new_id
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import BodyRef, Report, ReportKind
from redflag_wire.report_framing import frame_reports
from redflag_wire.signing import sign_envelope
from tests.support.simulated_agent import JSON_TYPE, REPORTS_TYPE, REQUEST_DEADLINE, SimulatedAgent


@dataclass(frozen=True)
class Answered:
    """What came back: the status, the problem's code if there is one, and the headers."""

    status: int
    code: str | None
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.status} {self.code}" if self.code else str(self.status)


@dataclass
class HostileAgent(SimulatedAgent):
    """One host that may do anything with the keys it has."""

    prev_of_agent_key: str | None = None

    def signed_headers(
        self, method: str, path: str, body: bytes = b"", content_type: str = JSON_TYPE
    ) -> dict[str, str]:
        """The headers of a good request."""
        url = f"{self.origin}/agent/v1{path}"
        return {"Content-Type": content_type, **self._signature(method, url, body, content_type)}

    async def send(
        self, method: str, path: str, headers: Mapping[str, str] | list[tuple[str, str]], body: bytes = b""
    ) -> Answered:
        """Send exactly this."""
        url = f"{self.origin}/agent/v1{path}"
        async with self.session.request(
            method,
            url,
            data=io.BytesIO(body),
            headers=headers,
            timeout=REQUEST_DEADLINE,
            allow_redirects=False,
        ) as answer:
            self.nonce = answer.headers.get("RF-Nonce", self.nonce)
            text = await answer.text()
            try:
                told = json.loads(text)
            except ValueError:
                told = None
            code = told.get("code") if isinstance(told, dict) else None
            return Answered(answer.status, code, dict(answer.headers))

    async def post(self, path: str, body: bytes, content_type: str = JSON_TYPE) -> Answered:
        """Send a signed request with any body."""
        return await self.send("POST", path, self.signed_headers("POST", path, body, content_type), body)

    def report_of(
        self,
        kind: ReportKind,
        decoded: bytes,
        *,
        encoding: Literal["gzip", "identity"] = "gzip",
        sealed: bytes | None = None,
        **changes: Any,
    ) -> tuple[bytes, bytes]:
        """A signed report of the agent key and its body as it travels; `changes` replace fields of the report."""
        assert self.agent_id is not None
        self.rseq += 1
        travelling = sealed if sealed is not None else gzip.compress(decoded, mtime=0)
        now = self.clock.now()
        fields = {
            "v": 1,
            "fleet": self.fleet,
            "agent": self.agent_id,
            "akt": self.agent_key.public.thumbprint,
            "report": new_id(self.clock, secrets.token_bytes),
            "rseq": self.rseq,
            "prev": self.prev_of_agent_key,
            "at_mono": int(self.clock.monotonic() * 1000),
            "boot_id": "00000000-0000-0000-0000-000000000000",
            "kind": kind,
            "at": now,
            "body": BodyRef(
                sha256=hashlib.sha256(travelling).hexdigest(), length=len(travelling), encoding=encoding
            ),
        }
        payload = Report(**{**fields, **changes}).to_bytes()
        self.prev_of_agent_key = digest(payload)
        return sign_envelope(PayloadType.REPORT, payload, self.agent_key).to_bytes(), travelling

    async def report(self, *reports: tuple[bytes, bytes]) -> Answered:
        """Send reports in one batch."""
        return await self.post("/reports", frame_reports(reports), REPORTS_TYPE)
