"""An installation's keys in one object, signing on demand what a host receives: three lines make an attack."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from redflag_wire import base64_strict
from redflag_wire.beacon import Beacon
from redflag_wire.clock import ManualClock
from redflag_wire.command import Command
from redflag_wire.enrolment import AgentStatus, Enrolled
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import Envelope
from redflag_wire.ids import new_id
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot, root_fingerprint
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.signing import SigningKey, sign_envelope

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def key() -> SigningKey:
    return SigningKey.generate(secrets.token_bytes)


class Fleet:
    """Root, command, beacon and access keys, a manifest and a clock of the signer's own."""

    def __init__(self, start: datetime = START) -> None:
        self.id = str(uuid4())
        self.clock = ManualClock(start)
        self.root, self.command_key, self.beacon_key, self.access_key = key(), key(), key(), key()
        self.seq = 0
        self.manifest = self.make_manifest()
        self.manifest_envelope = self.sign_manifest(self.manifest)
        self.rootfp = root_fingerprint(self.manifest)

    def make_manifest(self, version: int = 1, **changes: Any) -> KeyManifest:
        now = self.clock.now()

        def entry(one: SigningKey, use: KeyUse, **more: Any) -> ManifestKey:
            values = {
                "keyid": one.public.keyid,
                "pub": one.public.to_b64(),
                "use": use,
                "nbf": now - timedelta(days=1),
                "exp": now + timedelta(days=365),
                "status": KeyStatus.ACTIVE,
            }
            return ManifestKey(**{**values, **more})

        values: dict[str, Any] = {
            "fleet": self.id,
            "version": version,
            "expires": now + timedelta(days=365),
            "roots": [ManifestRoot(pub=self.root.public.to_b64())],
            "threshold": 1,
            "keys": [
                entry(self.command_key, KeyUse.COMMAND, **changes.pop("command", {})),
                entry(self.beacon_key, KeyUse.BEACON, **changes.pop("beacon", {})),
                entry(self.access_key, KeyUse.ACCESS, **changes.pop("access", {})),
            ],
        }
        return KeyManifest(**{**values, **changes})

    def sign_manifest(self, manifest: KeyManifest, *keys: SigningKey) -> bytes:
        return sign_envelope(PayloadType.KEYS, manifest.to_bytes(), *(keys or (self.root,))).to_bytes()

    def token(self) -> EnrolmentToken:
        return EnrolmentToken.mint(secrets.token_bytes, self.rootfp)

    def beacon(self, now: datetime | None = None, signer: SigningKey | None = None, **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "fleet": self.id,
            "now": now or self.clock.now(),
            "manifest_version": 1,
            "stop": [],
            "min_agent_version": None,
        }
        payload = Beacon(**{**values, **changes}).to_bytes()
        return sign_envelope(PayloadType.BEACON, payload, signer or self.beacon_key).to_bytes()

    def command(self, agent: UUID, akt: str, kind: str = "scan", /, **changes: Any) -> Command:
        now = self.clock.now()
        self.seq += 1
        values: dict[str, Any] = {
            "v": 1,
            "fleet": self.id,
            "agent": agent,
            "akt": akt,
            "cmd": new_id(self.clock),
            "op": new_id(self.clock),
            "wave": None,
            "seq": self.seq + 1000,
            "kind": kind,
            "params": {"subsystem": "all", "refresh": True} if kind == "scan" else {},
            "iat": now,
            "nbf": now,
            "exp": now + timedelta(hours=1),
            "nonce": base64_strict.encode(secrets.token_bytes(16)),
            "pol": {"window": None, "allow_reboot": False, "max_runtime": None},
            "by": {"approvers": ["anna"], "intent": "sha256:" + "0" * 64},
            "prev": None,
            "artifacts": [],
        }
        return Command.model_validate({**values, **changes})

    def sign(self, command: Command, signer: SigningKey | None = None) -> bytes:
        return self.envelope(command, signer).to_bytes()

    def envelope(self, command: Command, signer: SigningKey | None = None) -> Envelope:
        return sign_envelope(PayloadType.COMMAND, command.to_bytes(), signer or self.command_key)

    def enrolled(self, token_id: str, agent: UUID, agent_pub: str, receipt_pub: str, **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "fleet": self.id,
            "token_id": token_id,
            "agent": agent,
            "agent_pub": agent_pub,
            "receipt_pub": receipt_pub,
            "gen": 1,
            "access_token": "first-access-token",
            "renewal_secret": base64_strict.encode(secrets.token_bytes(32)),
            "status": AgentStatus.ACTIVE,
            "at": self.clock.now(),
        }
        payload = Enrolled(**{**values, **changes}).to_bytes()
        return sign_envelope(PayloadType.ENROLLED, payload, self.access_key).to_bytes()


def as_object(envelope: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(envelope)
    return found
