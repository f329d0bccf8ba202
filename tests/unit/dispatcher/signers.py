"""Keys, intents and reports for the dispatcher's unit tests; nothing here touches a network or a database."""

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from redflag_wire.clock import ManualClock
from redflag_wire.envelope import digest
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import Report, ReportKind
from redflag_wire.report_framing import frame_reports
from redflag_wire.signing import SigningKey, sign_envelope

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
CLOCK = ManualClock(NOW)
FLEET = str(new_id(CLOCK))


def make_key() -> SigningKey:
    return SigningKey.generate(secrets.token_bytes)


def make_intent(agent: UUID, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "fleet": FLEET,
        "intent": new_id(CLOCK),
        "at": NOW,
        "operator": "admin",
        "session": None,
        "verb": IntentVerb.SCAN,
        "targets": [agent],
        "params": {"subsystem": "apt"},
        **changes,
    }
    return Intent(**values)


def seal(intent: Intent, key: SigningKey) -> bytes:
    return sign_envelope(PayloadType.INTENT, intent.to_bytes(), key).to_bytes()


class Reporter:
    """One host's two keys."""

    def __init__(self) -> None:
        self.agent = new_id(CLOCK)
        self.agent_key = make_key()
        self.receipt_key = make_key()

    def report(self, **changes: Any) -> Report:
        values: dict[str, Any] = {
            "fleet": FLEET,
            "agent": self.agent,
            "akt": self.agent_key.public.thumbprint,
            "report": new_id(CLOCK),
            "rseq": 1,
            "prev": None,
            "at_mono": 1,
            "boot_id": "boot",
            "kind": ReportKind.FACTS,
            "at": NOW,
            **changes,
        }
        return Report(**values)

    def frame(
        self,
        report: Report,
        key: SigningKey | None = None,
        sealed: bytes = b"",
        payload_type: PayloadType = PayloadType.REPORT,
    ) -> bytes:
        signer = key or (self.receipt_key if report.kind is ReportKind.COMMAND else self.agent_key)
        return frame_reports([(sign_envelope(payload_type, report.to_bytes(), signer).to_bytes(), sealed)])


def some_digest(text: str) -> str:
    return digest(text.encode())
