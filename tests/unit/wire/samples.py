"""One valid payload of each type, the keys that sign them, and the settings that keep hypothesis steady and quick."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings

from redflag_wire import base64_strict
from redflag_wire.beacon import Beacon, StopEpoch
from redflag_wire.command import Artifact, By, Command, CommandKind, HostLimits, Window
from redflag_wire.enrolment import AgentStatus, Enrolled, EnrollRequest
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot
from redflag_wire.payload import Payload
from redflag_wire.payload_types import KeyUse, SignerRole
from redflag_wire.report import BodyRef, CommandState, Outcome, Report, ReportKind
from redflag_wire.signing import SigningKey

STEADY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
FLEET = "0192f0c1-2e3d-7abc-8def-0123456789ab"
AGENT = UUID("0192f0c1-2e3d-7abc-8def-000000000001")
COMMAND = UUID("0192f0c1-2e3d-7abc-8def-000000000002")
OPERATION = UUID("0192f0c1-2e3d-7abc-8def-000000000003")
INTENT = UUID("0192f0c1-2e3d-7abc-8def-000000000004")
REPORT = UUID("0192f0c1-2e3d-7abc-8def-000000000005")
DIGEST = "sha256:" + "ab" * 32


def key(name: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(b"sample " + name.encode()).digest())


KEYS = {role: key(role.value) for role in SignerRole}


def counting_random() -> Any:
    """Return a random source that gives other bytes at each call, the same in each run."""
    calls: Iterator[int] = iter(range(1_000_000))

    def random(count: int) -> bytes:
        return hashlib.shake_256(b"random %d" % next(calls)).digest(count)

    return random


def manifest_key(use: KeyUse, signing: SigningKey, **changes: Any) -> ManifestKey:
    fields: dict[str, Any] = {
        "keyid": signing.public.keyid,
        "pub": signing.public.to_b64(),
        "use": use,
        "kinds": None,
        "nbf": NOW - timedelta(days=1),
        "exp": NOW + timedelta(days=1),
        "status": KeyStatus.ACTIVE,
    }
    return ManifestKey(**{**fields, **changes})


def manifest(**changes: Any) -> KeyManifest:
    fields: dict[str, Any] = {
        "fleet": FLEET,
        "version": 1,
        "expires": NOW + timedelta(days=365),
        "roots": [ManifestRoot(pub=KEYS[SignerRole.ROOT].public.to_b64())],
        "threshold": 1,
        "keys": [manifest_key(use, KEYS[SignerRole(use.value)]) for use in KeyUse],
    }
    return KeyManifest(**{**fields, **changes})


def command(**changes: Any) -> Command:
    fields: dict[str, Any] = {
        "v": 1,
        "fleet": FLEET,
        "agent": AGENT,
        "akt": KEYS[SignerRole.AGENT].public.thumbprint,
        "cmd": COMMAND,
        "op": OPERATION,
        "wave": None,
        "seq": 1_800_000_000_000,
        "kind": CommandKind.SCAN,
        "params": {"subsystem": "apt", "refresh": True},
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + timedelta(hours=24),
        "nonce": base64_strict.encode(bytes(16)),
        "pol": HostLimits(
            window=Window(opens=NOW, closes=NOW + timedelta(hours=1)), allow_reboot=False, max_runtime=3600
        ),
        "by": By(approvers=["alice"], intent=DIGEST),
        "prev": None,
        "artifacts": [Artifact(target="agent.tar", version="1.2.3", length=17, sha256="cd" * 32)],
    }
    return Command(**{**fields, **changes})


def intent(**changes: Any) -> Intent:
    fields: dict[str, Any] = {
        "fleet": FLEET,
        "intent": INTENT,
        "at": NOW,
        "operator": "alice",
        "session": None,
        "verb": IntentVerb.SCAN,
        "targets": [AGENT],
        "params": {"subsystem": "apt", "refresh": True},
        "approvals": [],
    }
    return Intent(**{**fields, **changes})


def report(**changes: Any) -> Report:
    fields: dict[str, Any] = {
        "fleet": FLEET,
        "agent": AGENT,
        "akt": KEYS[SignerRole.RECEIPT].public.thumbprint,
        "report": REPORT,
        "rseq": 7,
        "prev": DIGEST,
        "at_mono": 12345,
        "boot_id": "5f1c8e52-0000-4000-8000-000000000000",
        "kind": ReportKind.COMMAND,
        "cmd": COMMAND,
        "cmd_digest": DIGEST,
        "state": CommandState.DONE,
        "result": Outcome.SUCCEEDED,
        "started": NOW,
        "finished": NOW + timedelta(seconds=5),
        "at": NOW,
        "body": BodyRef(sha256="ef" * 32, length=10, encoding="gzip"),
    }
    return Report(**{**fields, **changes})


def payloads() -> list[Payload]:
    agent_pub = KEYS[SignerRole.AGENT].public.to_b64()
    receipt_pub = KEYS[SignerRole.RECEIPT].public.to_b64()
    return [
        command(),
        intent(),
        manifest(),
        Beacon(
            fleet=FLEET,
            now=NOW,
            manifest_version=1,
            stop=[StopEpoch(scope="fleet", epoch=0)],
            min_agent_version=None,
        ),
        EnrollRequest(
            fleet=FLEET,
            token_id="abcdefghij",
            challenge="c29tZXRoaW5n",
            agent_pub=agent_pub,
            receipt_pub=receipt_pub,
            machine_id="ab" * 32,
            facts={"hostname": "web-1"},
        ),
        Enrolled(
            fleet=FLEET,
            token_id="abcdefghij",
            agent=AGENT,
            agent_pub=agent_pub,
            receipt_pub=receipt_pub,
            gen=1,
            access_token="aaa.bbb.ccc",
            renewal_secret=base64_strict.encode(bytes(range(32))),
            status=AgentStatus.ACTIVE,
            at=NOW,
        ),
        report(),
    ]
