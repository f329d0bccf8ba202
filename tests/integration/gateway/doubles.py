"""The two sides of a gateway under test: a dispatcher with all signing keys, and an agent that signs its requests."""

import asyncio
import io
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
from joserfc import jwt
from joserfc.jwk import OKPKey
from nats.aio.client import Client

from redflag_broker_config import subjects
from redflag_wire import base64_strict
from redflag_wire.beacon import Beacon
from redflag_wire.clock import SystemClock
from redflag_wire.envelope import Envelope
from redflag_wire.http_signature import RequestParts, Tag, content_digest, sign_request
from redflag_wire.ids import new_id
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot, root_fingerprint
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.signing import SigningKey, sign_envelope

JSON = "application/json"
REPORTS = "application/vnd.redflag.reports.v1"
DEADLINE_S = 90


def _key() -> SigningKey:
    return SigningKey.generate(secrets.token_bytes)


def new_agent_id() -> UUID:
    return new_id(SystemClock())


@dataclass
class DispatcherDouble:
    """Holds every key and a connection with the dispatcher's rights."""

    nc: Client
    fleet: str = field(default_factory=lambda: str(new_agent_id()))
    root: SigningKey = field(default_factory=_key)
    access: SigningKey = field(default_factory=_key)
    beacon: SigningKey = field(default_factory=_key)
    command: SigningKey = field(default_factory=_key)

    def manifest(self, version: int = 1, access: SigningKey | None = None) -> KeyManifest:
        now = datetime.now(UTC).replace(microsecond=0)
        keys = [
            ManifestKey(
                keyid=key.public.keyid,
                pub=key.public.to_b64(),
                use=use,
                nbf=now - timedelta(days=1),
                exp=now + timedelta(days=300),
                status=KeyStatus.ACTIVE,
            )
            for use, key in (
                (KeyUse.ACCESS, access or self.access),
                (KeyUse.BEACON, self.beacon),
                (KeyUse.COMMAND, self.command),
            )
        ]
        return KeyManifest(
            fleet=self.fleet,
            version=version,
            expires=now + timedelta(days=365),
            roots=[ManifestRoot(pub=self.root.public.to_b64())],
            threshold=1,
            keys=keys,
        )

    def signed_manifest(self, version: int = 1, access: SigningKey | None = None) -> bytes:
        payload = self.manifest(version, access).to_bytes()
        return sign_envelope(PayloadType.KEYS, payload, self.root).to_bytes()

    @property
    def root_fingerprint(self) -> str:
        return root_fingerprint(self.manifest()).hex()

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        await self.nc.jetstream().publish(subjects.bucket_subject(bucket, key), value)

    async def publish_manifest(self, version: int = 1, access: SigningKey | None = None) -> None:
        value = self.signed_manifest(version, access)
        await self.put(subjects.KV_KEYS, subjects.manifest_key(version), value)

    async def publish_beacon(self) -> Envelope:
        payload = Beacon(
            fleet=self.fleet,
            now=datetime.now(UTC).replace(microsecond=0),
            manifest_version=1,
            stop=[],
            min_agent_version=None,
        ).to_bytes()
        envelope = sign_envelope(PayloadType.BEACON, payload, self.beacon)
        await self.put(subjects.KV_BEACON, subjects.BEACON_KEY, envelope.to_bytes())
        return envelope

    def token(
        self,
        agent: UUID,
        key: SigningKey,
        *,
        header: dict[str, Any] | None = None,
        signer: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        now = int(datetime.now(UTC).timestamp())
        signer = signer or self.access
        seed, public = signer.seed, signer.public
        jwk = OKPKey.import_key(
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "d": base64_strict.encode_url(seed),
                "x": base64_strict.encode_url(public.raw),
            }
        )
        everything = {
            "iss": self.fleet,
            "aud": "rf-gateway",
            "sub": str(agent),
            "cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64_strict.encode_url(key.public.raw)}},
            "gen": 1,
            "jti": str(new_agent_id()),
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        head = {"alg": "Ed25519", "typ": "rf-agent+jwt", "kid": public.keyid, **(header or {})}
        return jwt.encode(
            head, {name: value for name, value in everything.items() if value is not None}, jwk, ["Ed25519"]
        )

    async def publish_command(
        self, agent: UUID, *, wake: bool = True, number: int = 1
    ) -> tuple[UUID, Envelope]:
        """Publish something of a command's form; the gateway does not look inside."""
        cmd, op = new_agent_id(), new_agent_id()
        payload = json.dumps({"cmd": str(cmd), "op": str(op), "agent": str(agent)}).encode()
        envelope = sign_envelope(PayloadType.COMMAND, payload, self.command)
        await self.nc.jetstream().publish(
            subjects.command_subject(agent),
            envelope.to_bytes(),
            headers={subjects.HEADER_MESSAGE_ID: f"{cmd}:{number}", subjects.HEADER_TTL: "600s"},
        )
        if wake:
            await self.wake(agent)
        return cmd, envelope

    async def wake(self, agent: UUID) -> None:
        await self.nc.publish(
            subjects.wake_subject(subjects.shard_of(agent)), json.dumps([agent.hex]).encode()
        )
        await self.nc.flush()

    async def serve(self, subject: str, answers: list[dict[str, Any]]) -> "asyncio.Queue[dict[str, Any]]":
        """Answer questions to a service with the given answers; return what was asked."""
        asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def answer(message: Any) -> None:
            asked.put_nowait(json.loads(message.data))
            await message.respond(json.dumps(answers.pop(0)).encode())

        await self.nc.subscribe(subject, queue=subjects.SERVICE_QUEUE, cb=answer)
        await self.nc.flush()
        return asked


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str | None:
        code = self.body.get("code") if isinstance(self.body, dict) else None
        return str(code) if code is not None else None


@dataclass
class AgentDouble:
    """Signs requests as docs/protocol.md 8.3 says; every part can be bent for an attack."""

    http: aiohttp.ClientSession
    origin: str
    token: str
    agent: UUID
    key: SigningKey
    nonce: str = "none"

    def sign(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        tag: Tag = Tag.AGENT,
        origin: str | None = None,
        key: SigningKey | None = None,
    ) -> dict[str, str]:
        key = key or self.key
        parts = RequestParts(
            method=method,
            target_uri=(origin or self.origin) + path,
            content_type=content_type,
            content_digest=content_digest(body),
            rf_nonce=self.nonce,
            authorization=f"Bearer {self.token}" if tag is Tag.AGENT else None,
        )
        signature_input, signature = sign_request(
            parts,
            signer=key.sign,
            keyid=key.public.thumbprint,
            created=int(datetime.now(UTC).timestamp()),
            nonce=base64_strict.encode(secrets.token_bytes(16)),
            tag=tag,
        )
        headers = {
            "Content-Type": content_type,
            "Content-Digest": parts.content_digest,
            "RF-Nonce": parts.rf_nonce,
            "Signature-Input": signature_input,
            "Signature": signature,
        }
        if parts.authorization:
            headers["Authorization"] = parts.authorization
        return headers

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        async with self.http.request(
            method,
            self.origin + path,
            data=io.BytesIO(body) if body else None,
            headers=headers,
            skip_auto_headers=["Content-Type"],
            timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
        ) as answer:
            self.nonce = answer.headers.get("RF-Nonce", self.nonce)
            text = await answer.read()
            return Reply(answer.status, dict(answer.headers), json.loads(text) if text else None)

    async def call(
        self, method: str, path: str, body: bytes = b"", *, content_type: str = JSON, tag: Tag = Tag.AGENT
    ) -> Reply:
        """Send a well signed request, once more where the nonce was stale."""
        path = f"/agent/v1{path}"
        for _ in range(2):
            headers = self.sign(method, path, body, content_type=content_type, tag=tag)
            reply = await self.send(method, path, headers, body)
            if reply.code != "nonce_stale":
                break
        return reply

    async def poll(self, wait: int = 0) -> list[dict[str, Any]]:
        reply = await self.call("GET", f"/commands?wait={wait}")
        assert reply.status == 200, reply
        commands: list[dict[str, Any]] = reply.body["commands"]
        return commands

    async def ack(self, *handles: str) -> int:
        reply = await self.call("POST", "/commands/ack", json.dumps({"handles": handles}).encode())
        assert reply.status == 200, reply
        acked: int = reply.body["acked"]
        return acked
