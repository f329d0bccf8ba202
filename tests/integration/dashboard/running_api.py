"""The API as the program runs it, over a real database with the dashboard's own rights, and rows to work on."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dashboard.app import build_app
from redflag_dashboard.changes import Changes
from redflag_dashboard.metrics import Metrics
from redflag_dashboard.parts import Parts
from redflag_store.engine import open_engine, sessions
from redflag_store.queries.api_keys import insert_api_key, new_key_text
from redflag_store.tables import Agent, Command, KeyManifest, PackageState, UpdatePlan
from redflag_wire.clock import SystemClock
from redflag_wire.command_params import PackageRef
from redflag_wire.envelope import digest
from redflag_wire.ids import new_id
from redflag_wire.manifest import KeyManifest as Manifest
from redflag_wire.manifest import KeyStatus, ManifestKey, ManifestRoot
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.plan import Plan, PlanItem
from redflag_wire.signing import SigningKey, sign_envelope
from tests.support.postgres import DatabaseUrl

CLOCK = SystemClock()
GATEWAY = "https://gateway.example.org"
DEADLINE = aiohttp.ClientTimeout(total=30)


@dataclass
class Api:
    """A running API, a client with an admin's key, and the owner's sessions for rows."""

    url: str
    http: aiohttp.ClientSession
    owner: async_sessionmaker[AsyncSession]
    parts: Parts
    root: SigningKey
    registry: CollectorRegistry
    keys: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        key: str | None = "admin",
        headers: dict[str, str] | None = None,
        expect: int = 200,
        **params: Any,
    ) -> Any:
        """Send a request and return the answer's JSON; `key` names one of `keys`."""
        async with self.raw(method, path, body=body, key=key, headers=headers, **params) as answer:
            text = await answer.text()
            assert answer.status == expect, (answer.status, text)
            return await answer.json(content_type=None)

    def raw(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        key: str | None = "admin",
        headers: dict[str, str] | None = None,
        **params: Any,
    ) -> Any:
        """Send a request; an async context manager with the response."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {self.keys[key]}"
        return self.http.request(
            method,
            f"{self.url}/api/v1{path}",
            json=body,
            headers=sent,
            params={name: str(value) for name, value in params.items()},
        )

    async def add(self, *rows: Any) -> None:
        """Store rows as the owner, in the order given."""
        async with self.owner.begin() as session:
            for row in rows:
                session.add(row)
                await session.flush()

    async def add_host(self, hostname: str = "web-04", state: str = "active", **columns: Any) -> UUID:
        agent = Agent(
            id=new_id(CLOCK),
            hostname=hostname,
            machine_id=secrets.token_hex(32),
            state=state,
            akt=secrets.token_urlsafe(32),
            os_name="Debian GNU/Linux",
            os_version="12",
            created_at=CLOCK.now(),
            last_seen_at=CLOCK.now(),
            **columns,
        )
        await self.add(agent)
        return agent.id

    async def add_update(self, agent: UUID, name: str, **columns: Any) -> None:
        now = CLOCK.now()
        row = {
            "manager": "apt", "arch": "amd64", "installed": "1.0", "candidate": "2.0", "origin": "Debian",
            "suite": "stable", "first_seen_at": now, "changed_at": now, **columns,
        }  # fmt: skip
        await self.add(PackageState(agent_id=agent, name=name, **row))

    async def add_plan(self, agent: UUID, plan: Plan, created_at: datetime | None = None) -> str:
        """Store a plan as if a dry run had come back; return its digest."""
        async with self.owner.begin() as session:
            command_id = new_id(CLOCK)
            await add_command(session, agent, command_id, "dry_run_update", "succeeded")
            asked = {(one.name, one.arch) for one in plan.request}
            extra = [item for item in plan.items if (item.name, item.arch) not in asked]
            session.add(
                UpdatePlan(
                    id=new_id(CLOCK),
                    agent_id=agent,
                    command_id=command_id,
                    manager=plan.manager,
                    mode=plan.mode.value,
                    digest=digest(plan.to_bytes()),
                    plan=plan.to_bytes(),
                    item_count=len(plan.items),
                    extra_count=len(extra),
                    removes=sum(item.action == "remove" for item in plan.items),
                    created_at=created_at or CLOCK.now(),
                )
            )
        return digest(plan.to_bytes())


async def add_command(
    session: AsyncSession, agent: UUID, command_id: UUID, kind: str, state: str, **columns: Any
) -> None:
    """Store a command in any state, without its story."""
    session.add(
        Command(
            id=command_id,
            agent_id=agent,
            kind=kind,
            state=state,
            source="system",
            envelope=None if state in ("requested", "cancelled") else b"{}",
            requested_by="test",
            requested_at=columns.pop("requested_at", CLOCK.now()),
            **columns,
        )
    )
    await session.flush()


def upgrade_plan(*names: str, extra: tuple[PlanItem, ...] = ()) -> Plan:
    """A plan that upgrades `names` from 1.0 to 2.0, and whatever comes with it."""
    return Plan(
        manager="apt",
        request=[PackageRef(name=name, arch="amd64", version="2.0") for name in names],
        items=[
            *(
                PlanItem(name=name, arch="amd64", old="1.0", new="2.0", origin="Debian", action="upgrade")
                for name in names
            ),
            *extra,
        ],
    )


def removal(name: str) -> PlanItem:
    return PlanItem(name=name, arch="amd64", old="1.0", new=None, origin="", action="remove")


def install_of(name: str) -> PlanItem:
    return PlanItem(name=name, arch="amd64", old=None, new="1.0", origin="Debian", action="install")


def manifest_of(root: SigningKey, intent: SigningKey, fleet: UUID) -> bytes:
    """A first manifest's envelope, with the intent key in it."""
    now = CLOCK.now().replace(microsecond=0)
    manifest = Manifest(
        fleet=str(fleet),
        version=1,
        expires=now + timedelta(days=365),
        roots=[ManifestRoot(pub=root.public.to_b64())],
        threshold=1,
        keys=[
            ManifestKey(
                keyid=intent.public.keyid,
                pub=intent.public.to_b64(),
                use=KeyUse.INTENT,
                nbf=now - timedelta(minutes=1),
                exp=now + timedelta(days=365),
                status=KeyStatus.ACTIVE,
            )
        ],
    )
    return sign_envelope(PayloadType.KEYS, manifest.to_bytes(), root).to_bytes()


@asynccontextmanager
async def running_api(database: DatabaseUrl) -> AsyncIterator[Api]:
    """The API on a free port of loopback."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, "0.1.0")
    engine = open_engine(database.dashboard, pool_size=5, application_name="dashboard-tests")
    owner_engine = open_engine(database, pool_size=3, application_name="dashboard-tests-owner")
    root_key, intent_key = SigningKey.generate(secrets.token_bytes), SigningKey.generate(secrets.token_bytes)
    fleet = uuid4()
    parts = Parts(
        sessions=sessions(engine),
        clock=CLOCK,
        random=secrets.token_bytes,
        intent_key=intent_key,
        fleet=fleet,
        gateway_origin=GATEWAY,
        changes=Changes(metrics),
        metrics=metrics,
        version="0.1.0",
    )
    owner = sessions(owner_engine)
    server = TestServer(build_app(parts), host="127.0.0.1")
    await server.start_server()
    try:
        async with aiohttp.ClientSession(timeout=DEADLINE) as http:
            url = str(server.make_url("")).rstrip("/")
            api = Api(url, http, owner, parts, root_key, registry)
            async with owner.begin() as session:
                session.add(
                    KeyManifest(
                        version=1, envelope=manifest_of(root_key, intent_key, fleet), created_at=CLOCK.now()
                    )
                )
                for name in ("read", "write", "admin"):
                    api.keys[name] = new_key_text()
                    await insert_api_key(session, api.keys[name], name=name, scopes=[name], clock=CLOCK)
            yield api
    finally:
        await server.close()
        await engine.dispose()
        await owner_engine.dispose()
