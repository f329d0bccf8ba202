"""Makes the dispatcher's parts and lists the loops that drive them. Nothing is decided here.

When you add a loop: make the part in ``loops_of`` and add one ``Loop``. ``step`` returns whether there may be more to
do at once; otherwise it is called again when ``wake`` is set or after ``idle_s``. Two dispatchers run every loop, so
a step must share its work with another's (SKIP LOCKED, a lock, or repairs guarded by state).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import INGEST_DELIVERED, INGEST_EVENT, INGEST_REPORT, UP_STREAM
from redflag_dispatcher.access_tokens import AccessTokens
from redflag_dispatcher.announce import BeaconAnnouncer, ManifestAnnouncer
from redflag_dispatcher.auth_service import AuthService
from redflag_dispatcher.ends import Ends
from redflag_dispatcher.enrolment import Enrolments
from redflag_dispatcher.gateway_events import GatewayEvents
from redflag_dispatcher.host_effects import FigureUpkeep
from redflag_dispatcher.ingest import Ingest
from redflag_dispatcher.jobs import JobWork, WaitingCounts
from redflag_dispatcher.keys import KeyRing
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.noticed import Noticed, started
from redflag_dispatcher.publisher import Publisher
from redflag_dispatcher.pull import Puller
from redflag_dispatcher.reconcile import Reconciler
from redflag_dispatcher.relay import OutboxLag, Relay
from redflag_dispatcher.renewal import Renewals
from redflag_dispatcher.schedule import ScheduleLag, Scheduler
from redflag_dispatcher.seen import Deliveries, Presence
from redflag_dispatcher.settings import Settings
from redflag_dispatcher.signer import Signer
from redflag_dispatcher.streams import Streams
from redflag_dispatcher.tally_upkeep import TallyUpkeep
from redflag_dispatcher.upkeep import Upkeep
from redflag_dispatcher.wakes import Wakes
from redflag_wire.clock import Clock

POLL_S = 5.0  # the signer looks by itself this often; notices only make it faster
JOBS_S = 2.0  # items may become due by time, and jobs end with their commands
RELAY_IDLE_S = 0.5  # the same for the relay, whose rows may become due by time
PRESENCE_S = 5.0
MANIFEST_S = 30.0
LAG_S = 5.0
TALLIES_S = 5.0
UPKEEP_S = 900.0  # between looks at what is older than its retention
SCHEDULE_S = 1.0  # the scheduler makes at most one batch in this time
NOTICED_S = 5.0  # between two rounds of writing what people should know
FIGURES_S = 3_600.0  # between looks at which weeks of figures are due

Step = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What every part stands on.

    Attributes:
        maker: sessions of the database.
        nc: the broker.
        ring: keys and manifest.
        settings: of the environment.
        live: of the operators.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts.
        wakes: events of the loops.
        fleet: this installation.
        ensure: makes the streams and consumers that are missing.
    """

    maker: async_sessionmaker[AsyncSession]
    nc: Client
    ring: KeyRing
    settings: Settings
    live: LiveSettings
    clock: Clock
    new_id: Callable[[], UUID]
    metrics: Metrics
    wakes: Wakes
    fleet: str
    ensure: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: what it does, what wakes it, and its longest pause in seconds."""

    name: str
    step: Step
    wake: asyncio.Event
    idle_s: float


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts, made and subscribed.

    Attributes:
        loops: to be run.
        first: what must have worked once before any loop runs, by name, in order.
        pullers: asked again after a new connection.
    """

    loops: tuple[Loop, ...]
    first: tuple[tuple[str, Callable[[], Awaitable[object]]], ...]
    pullers: tuple[Puller, ...]


async def make_parts(ground: Ground, stack: AsyncExitStack) -> Parts:
    """Make the parts; those that subscribe are stopped by ``stack``."""
    maker, nc, clock, new, metrics = ground.maker, ground.nc, ground.clock, ground.new_id, ground.metrics
    wakes, ring, fleet, settings, live = ground.wakes, ground.ring, ground.fleet, ground.settings, ground.live
    publisher, streams = Publisher(nc), Streams(nc)
    reports = Puller(nc, UP_STREAM, INGEST_REPORT, clock=clock)
    delivered = Puller(nc, UP_STREAM, INGEST_DELIVERED, clock=clock)
    presence = Presence(maker, nc, clock=clock, arrived=lambda: None)
    gateways = Puller(nc, UP_STREAM, INGEST_EVENT, clock=clock)
    noticed = Noticed(maker, clock=clock, new_id=new)
    stack.push_async_callback(noticed.last)
    for part in (publisher, reports, delivered, gateways, presence, _auth_service(ground, noticed)):
        await part.start()
        stack.push_async_callback(part.stop)
    signer = Signer(
        maker, ring, live, fleet=fleet, clock=clock, new_id=new, metrics=metrics, signed=wakes.relay.set
    )
    relay = Relay(maker, nc, publisher, streams, clock=clock, new_id=new, metrics=metrics)
    reconciler = Reconciler(
        maker,
        nc,
        streams,
        clock=clock,
        new_id=new,
        metrics=metrics,
        due=wakes.relay.set,
        ensure=ground.ensure,
    )
    ingest = Ingest(maker, nc, reports, fleet=fleet, clock=clock, new_id=new, metrics=metrics)
    deliveries = Deliveries(maker, delivered, clock=clock, metrics=metrics)
    jobs = JobWork(maker, clock=clock, metrics=metrics, made=wakes.signer.set)
    waiting = WaitingCounts(maker, metrics=metrics)
    upkeep = Upkeep(maker, live, clock=clock, metrics=metrics)
    ends = Ends(maker, streams, live, clock=clock, new_id=new, metrics=metrics)
    manifests = ManifestAnnouncer(maker, nc, ring, clock=clock)
    beacons = BeaconAnnouncer(nc, ring, ground.live, fleet=fleet, clock=clock)
    gateway_events = GatewayEvents(maker, gateways, clock=clock, new_id=new)
    figures = FigureUpkeep(maker, ground.live, clock=clock)
    tallies = TallyUpkeep(maker, clock=clock, new_id=new)
    lag = OutboxLag(maker, clock=clock, metrics=metrics)
    scheduler = Scheduler(maker, live, clock=clock, new_id=new, metrics=metrics)
    schedule_lag = ScheduleLag(maker, clock=clock, metrics=metrics)
    loops = (
        Loop("signer", signer.step, wakes.signer, POLL_S),
        Loop("jobs", jobs.step, wakes.jobs, JOBS_S),
        Loop("waiting", waiting.step, wakes.timed, LAG_S),
        Loop("relay", relay.step, wakes.relay, RELAY_IDLE_S),
        Loop("ingest", ingest.step, wakes.timed, 0.1),
        Loop("delivered", deliveries.step, wakes.timed, 0.1),
        Loop("reconcile", reconciler.step, wakes.reconcile, settings.dispatcher_reconcile_s),
        Loop("ends", ends.step, wakes.timed, settings.dispatcher_reconcile_s),
        Loop("manifest", manifests.step, wakes.manifest, MANIFEST_S),
        Loop("beacon", beacons.step, wakes.beacon, settings.dispatcher_beacon_s),
        Loop("presence", presence.step, wakes.presence, PRESENCE_S),
        Loop("gateway-events", gateway_events.step, wakes.timed, 0.1),
        Loop("noticed", noticed.step, wakes.timed, NOTICED_S),
        Loop("figures", figures.step, wakes.timed, FIGURES_S),
        Loop("tallies", tallies.step, wakes.timed, TALLIES_S),
        Loop("upkeep", upkeep.step, wakes.timed, UPKEEP_S),
        Loop("lag", lag.step, wakes.timed, LAG_S),
        Loop("schedule", scheduler.step, wakes.timed, SCHEDULE_S),
        Loop("schedule-lag", schedule_lag.step, wakes.timed, LAG_S),
    )
    first = (("streams", streams.refresh), ("keys", manifests.step), ("beacon", beacons.step))
    noticed.note(started())
    return Parts(loops, first, (reports, delivered, gateways))


def _auth_service(ground: Ground, noticed: Noticed) -> AuthService:
    maker, clock, new, fleet = ground.maker, ground.clock, ground.new_id, ground.fleet
    life = timedelta(seconds=ground.settings.dispatcher_access_token_s)
    tokens = AccessTokens(ground.ring.keys.access, fleet=fleet, life=life, new_id=new)
    return AuthService(
        ground.nc,
        Enrolments(maker, ground.ring, tokens, fleet=fleet, clock=clock, new_id=new),
        Renewals(maker, tokens, clock=clock, new_id=new),
        metrics=ground.metrics,
        note=noticed.note,
    )
