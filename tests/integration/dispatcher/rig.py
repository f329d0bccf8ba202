"""A fleet on paper for the dispatcher's tests: keys, manifest, agents that sign, intents, and the parts under test.

Rows of others' (agents, tokens, intents) are written as the owner; everything under test runs with the role
`redflag_dispatcher` and the dispatcher's broker credentials.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.apply import apply
from redflag_broker_config.connect import connect
from redflag_broker_config.subjects import (
    HEADER_AGENT,
    INGEST_DELIVERED,
    INGEST_REPORT,
    UP_STREAM,
    UpKind,
    shard_of,
    stream_name,
    up_subject,
)
from redflag_dispatcher.access_tokens import AccessTokens
from redflag_dispatcher.ends import Ends
from redflag_dispatcher.enrolment import Enrolments
from redflag_dispatcher.identifiers import Identifiers
from redflag_dispatcher.ingest import Ingest
from redflag_dispatcher.keys import KeyRing, SigningKeys
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.publisher import Publisher
from redflag_dispatcher.pull import Puller
from redflag_dispatcher.reconcile import Reconciler
from redflag_dispatcher.relay import Relay
from redflag_dispatcher.renewal import Renewals
from redflag_dispatcher.signer import Signer
from redflag_dispatcher.streams import Streams
from redflag_store.engine import open_engine, sessions
from redflag_store.queries.commands_create import request_commands
from redflag_store.queries.intents import IntentData
from redflag_wire.clock import Clock, SystemClock
from redflag_wire.command import Command
from redflag_wire.envelope import digest, parse_envelope
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot, root_fingerprint
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.report import CommandState, Outcome, Report, ReportKind
from redflag_wire.report_body_codec import seal_body
from redflag_wire.report_framing import frame_reports
from redflag_wire.signing import SigningKey, sign_envelope
from tests.support.nats_server import Broker
from tests.support.postgres import DatabaseUrl

CLOCK = SystemClock()
FLEET = str(new_id(CLOCK))
ARRIVAL_DEADLINE_S = 10.0


def make_key() -> SigningKey:
    return SigningKey.generate(secrets.token_bytes)


@dataclass
class FleetKeys:
    """All private keys of an installation and manifest version 1."""

    root: SigningKey = field(default_factory=make_key)
    command: SigningKey = field(default_factory=make_key)
    beacon: SigningKey = field(default_factory=make_key)
    access: SigningKey = field(default_factory=make_key)
    intent: SigningKey = field(default_factory=make_key)

    def __post_init__(self) -> None:
        self._manifest = self._make_manifest()

    def manifest(self) -> KeyManifest:
        return self._manifest

    def _make_manifest(self) -> KeyManifest:
        now = CLOCK.now().replace(microsecond=0)
        uses = {
            KeyUse.COMMAND: self.command,
            KeyUse.BEACON: self.beacon,
            KeyUse.ACCESS: self.access,
            KeyUse.INTENT: self.intent,
        }
        return KeyManifest(
            fleet=FLEET,
            version=1,
            expires=now + timedelta(days=365),
            roots=[ManifestRoot(pub=self.root.public.to_b64())],
            threshold=1,
            keys=[
                ManifestKey(
                    keyid=key.public.keyid,
                    pub=key.public.to_b64(),
                    use=use,
                    nbf=now - timedelta(days=1),
                    exp=now + timedelta(days=365),
                    status=KeyStatus.ACTIVE,
                )
                for use, key in uses.items()
            ],
        )

    def envelope(self) -> bytes:
        return sign_envelope(PayloadType.KEYS, self.manifest().to_bytes(), self.root).to_bytes()

    def ring(self) -> KeyRing:
        manifest = self.manifest()
        return KeyRing(
            SigningKeys(self.command, self.beacon, self.access), manifest, root_fingerprint(manifest), FLEET
        )

    def write(self, directory: Path) -> None:
        """Write the key files as `redflag up` does."""
        for use, key in (("command", self.command), ("beacon", self.beacon), ("access", self.access)):
            (directory / f"{use}.key").write_text(key.to_text(use))
        (directory / "manifest-1.json").write_bytes(self.envelope())


@dataclass
class Host:
    """An agent that signs its reports as the protocol says."""

    id: UUID = field(default_factory=lambda: new_id(CLOCK))
    agent_key: SigningKey = field(default_factory=make_key)
    receipt_key: SigningKey = field(default_factory=make_key)
    machine_id: str = field(default_factory=lambda: secrets.token_hex(32))
    rseq: int = 0
    prev: dict[bool, str | None] = field(default_factory=lambda: {True: None, False: None})

    def report(self, kind: ReportKind, body: dict[str, Any] | None = None, **fields: Any) -> bytes:
        """Return the next report as one frame."""
        sealed = b""
        if body is not None:
            fields["body"], sealed = seal_body(json.dumps(body).encode())
        receipt = kind is ReportKind.COMMAND
        self.rseq += 1
        values: dict[str, Any] = {
            "fleet": FLEET,
            "agent": self.id,
            "akt": self.agent_key.public.thumbprint,
            "report": new_id(CLOCK),
            "rseq": self.rseq,
            "prev": self.prev[receipt],
            "at_mono": 1,
            "boot_id": "boot",
            "kind": kind,
            "at": CLOCK.now(),
            **fields,
        }
        signer = values.pop("signer", self.receipt_key if receipt else self.agent_key)
        payload = Report(**values).to_bytes()
        self.prev[receipt] = digest(payload)
        return frame_reports([(sign_envelope(PayloadType.REPORT, payload, signer).to_bytes(), sealed)])

    def of_command(
        self,
        command: Command,
        state: CommandState,
        result: Outcome | None = None,
        body: dict[str, Any] | None = None,
        **fields: Any,
    ) -> bytes:
        """Return a report on a command."""
        now = CLOCK.now()
        if state is not CommandState.RECEIVED and "started" not in fields:
            fields["started"] = now
        if state is CommandState.DONE:
            fields.setdefault("finished", now)
        return self.report(
            ReportKind.COMMAND,
            body,
            cmd=command.cmd,
            cmd_digest=digest(command.to_bytes()),
            state=state,
            result=result,
            **fields,
        )


@dataclass(frozen=True)
class Stored:
    """A message that lies in a stream."""

    data: bytes
    headers: dict[str, str]


class Rig:
    """The database, the broker and the parts of a dispatcher."""

    def __init__(self, url: DatabaseUrl, nc: Client, maker: async_sessionmaker[AsyncSession]) -> None:
        self.url = url
        self.nc = nc
        self.maker = maker
        self.keys = FleetKeys()
        self.ring = self.keys.ring()
        self.registry = CollectorRegistry()
        self._ingest: Ingest | None = None
        self._delivered: Puller | None = None
        self.metrics = Metrics(self.registry)
        self.new_id = Identifiers(CLOCK)
        self.streams = Streams(nc)
        self.tokens = AccessTokens(self.keys.access, fleet=FLEET, life=timedelta(hours=1), new_id=self.new_id)
        self.enrolments = Enrolments(
            maker, self.ring, self.tokens, fleet=FLEET, clock=CLOCK, new_id=self.new_id
        )
        self.renewals = Renewals(maker, self.tokens, clock=CLOCK, new_id=self.new_id)

    # Parts under test

    def signer(self, **changes: Any) -> Signer:
        return Signer(
            self.maker,
            self.ring,
            LiveSettings(self.maker, CLOCK),
            fleet=FLEET,
            clock=CLOCK,
            new_id=self.new_id,
            metrics=self.metrics,
            signed=lambda: None,
            **changes,
        )

    async def relay(self, **changes: Any) -> Relay:
        publisher = Publisher(self.nc)
        await publisher.start()
        await self.streams.refresh()
        return Relay(
            self.maker,
            self.nc,
            publisher,
            self.streams,
            clock=CLOCK,
            new_id=self.new_id,
            metrics=self.metrics,
            **changes,
        )

    def reconciler(self, **changes: Any) -> Reconciler:
        async def ensure() -> None:
            await apply(self.nc)

        return Reconciler(
            self.maker,
            self.nc,
            self.streams,
            clock=changes.pop("clock", CLOCK),
            new_id=self.new_id,
            metrics=self.metrics,
            due=lambda: None,
            ensure=ensure,
            **changes,
        )

    def ends(self, clock: Clock = CLOCK) -> Ends:
        return Ends(
            self.maker,
            self.streams,
            LiveSettings(self.maker, clock),
            clock=clock,
            new_id=self.new_id,
            metrics=self.metrics,
        )

    async def ingest(self) -> Ingest:
        puller = Puller(self.nc, UP_STREAM, INGEST_REPORT, clock=CLOCK)
        await puller.start()
        return Ingest(
            self.maker,
            self.nc,
            puller,
            fleet=FLEET,
            clock=CLOCK,
            new_id=self.new_id,
            metrics=self.metrics,
        )

    async def the_ingest(self) -> Ingest:
        """Return the one ingest of a test that needs no second: each has a pull request of its own open."""
        if self._ingest is None:
            self._ingest = await self.ingest()
        return self._ingest

    async def delivered_puller(self) -> Puller:
        """Return the one puller of deliveries: what a forgotten one had asked for would come 30 s later."""
        if self._delivered is None:
            self._delivered = Puller(self.nc, UP_STREAM, INGEST_DELIVERED, clock=CLOCK)
            await self._delivered.start()
        return self._delivered

    # What others write

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """Run a statement as the owner."""
        connection = await asyncpg.connect(str(self.url))  # type: ignore[no-untyped-call]  # ships no types
        try:
            return [dict(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def value(self, sql: str, *args: Any) -> Any:
        (row,) = await self.rows(sql, *args)
        (value,) = row.values()
        return value

    async def add_hosts(self, count: int = 1, state: str = "active") -> list[Host]:
        hosts = [Host() for _ in range(count)]
        for host in hosts:
            await self.rows(
                "INSERT INTO agent (id, hostname, machine_id, state, akt, created_at) "
                "VALUES ($1, $2, $3, $4, $5, now())",
                host.id,
                f"host-{host.id.hex[-6:]}",
                host.machine_id,
                state,
                host.agent_key.public.thumbprint,
            )
            for role, key in (("agent", host.agent_key.public), ("receipt", host.receipt_key.public)):
                await self.rows(
                    "INSERT INTO agent_key (agent_id, role, thumbprint, pub, keyid, created_at) "
                    "VALUES ($1, $2, $3, $4, $5, now())",
                    host.id,
                    role,
                    key.thumbprint,
                    key.raw,
                    key.keyid,
                )
        return hosts

    def intent(
        self,
        hosts: list[Host],
        verb: IntentVerb = IntentVerb.SCAN,
        params: dict[str, Any] | None = None,
        *,
        key: SigningKey | None = None,
        at: datetime | None = None,
    ) -> IntentData:
        intent = Intent(
            fleet=FLEET,
            intent=new_id(CLOCK),
            at=at or CLOCK.now(),
            operator="admin",
            session=None,
            verb=verb,
            targets=[host.id for host in hosts],
            params=params or {"subsystem": "apt"},
        )
        payload = intent.to_bytes()
        envelope = sign_envelope(PayloadType.INTENT, payload, key or self.keys.intent).to_bytes()
        return IntentData(
            id=intent.intent,
            envelope=envelope,
            digest=digest(payload),
            verb=verb.value,
            operator="admin",
            correlation_id=new_id(CLOCK),
        )

    async def request(
        self,
        hosts: list[Host],
        kind: str = "scan",
        params: dict[str, Any] | None = None,
        intent: IntentData | None = None,
    ) -> list[UUID]:
        """Ask for commands as the API does, with the dashboard's rights."""
        verbs = {
            "scan": IntentVerb.SCAN,
            "dry_run_update": IntentVerb.PLAN_UPDATES,
            "install_updates": IntentVerb.INSTALL_UPDATES,
            "rollback_update": IntentVerb.ROLLBACK_UPDATES,
            "reboot": IntentVerb.REBOOT,
        }
        params = params or {"subsystem": "apt"}
        async with opened(self.url.dashboard) as make, make.begin() as session:
            return await request_commands(
                session,
                CLOCK,
                intent=intent or self.intent(hosts, verbs[kind], params),
                agents=[host.id for host in hosts],
                kind=kind,
                params=params,
                requested_by="admin",
            )

    async def signed(self, host: Host, kind: str = "scan", params: dict[str, Any] | None = None) -> Command:
        """Ask for a command, sign it, and return its payload."""
        (command,) = await self.request([host], kind, params)
        await self.signer().step()
        return await self.payload(command)

    async def payload(self, command: UUID) -> Command:
        envelope = await self.value("SELECT envelope FROM command WHERE id = $1", command)
        assert envelope is not None
        return Command.from_bytes(parse_envelope(envelope).payload)

    async def state(self, command: UUID) -> str:
        return str(await self.value("SELECT state FROM command WHERE id = $1", command))

    async def timeline(self, command: UUID) -> list[str]:
        rows = await self.rows(
            "SELECT to_state FROM command_event WHERE command_id = $1 ORDER BY at, id", command
        )
        return [row["to_state"] for row in rows]

    async def events(self, code: str) -> list[dict[str, Any]]:
        rows = await self.rows("SELECT * FROM system_event WHERE code = $1 ORDER BY at", code)
        return [{**row, "data": json.loads(row["data"])} for row in rows]

    # The broker's side

    async def send_up(self, host: Host | UUID, *frames: bytes) -> None:
        """Put reports into the stream as the gateway does."""
        agent = host if isinstance(host, UUID) else host.id
        js = self.nc.jetstream()
        for frame in frames:
            await js.publish(
                up_subject(UpKind.REPORT, shard_of(agent)), frame, headers={HEADER_AGENT: agent.hex}
            )

    async def messages(self, agent: UUID) -> list[Stored]:
        """Return what lies in the stream for an agent, in order, without taking it."""
        name = stream_name(shard_of(agent))
        info = await self.stream_info(name)
        found = []
        for seq in range(info["state"]["first_seq"], info["state"]["last_seq"] + 1):
            answer = await self.nc.request(
                f"$JS.API.DIRECT.GET.{name}", json.dumps({"seq": seq}).encode(), timeout=5
            )
            headers = answer.headers or {}
            if "Status" not in headers and headers["Nats-Subject"].endswith(agent.hex):
                found.append(Stored(answer.data, headers))
        return found

    async def stream_info(self, name: str) -> dict[str, Any]:
        answer = await self.nc.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=5)
        info: dict[str, Any] = json.loads(answer.data)
        return info

    async def waiting_in(self, stream: str) -> int:
        return int((await self.stream_info(stream))["state"]["messages"])


class Heard:
    """Messages of a core subject, and a wait for the next."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Msg] = asyncio.Queue()

    async def take(self, message: Msg) -> None:
        await self.messages.put(message)

    async def next(self) -> Any:
        async with asyncio.timeout(ARRIVAL_DEADLINE_S):
            return json.loads((await self.messages.get()).data)


async def hear(nc: Client, subject: str) -> Heard:
    heard = Heard()
    await nc.subscribe(subject, cb=heard.take)
    await nc.flush()
    return heard


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = open_engine(url, application_name="dispatcher-tests")
    try:
        yield sessions(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[Client]:
    async def on_error(_error: Exception) -> None:
        """Tests that take the broker away expect errors; what counts is asserted on."""

    nc = await connect(broker.url, broker.dispatcher_seed_file, "dispatcher", "tests", on_error=on_error)
    try:
        yield nc
    finally:
        await nc.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
