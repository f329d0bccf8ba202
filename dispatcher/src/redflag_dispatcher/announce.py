"""What the dispatcher announces to everybody: the key manifest chain, and a signed beacon every minute.

Guarantees: the chain is verified from the pinned roots before it is published, version by version, and is published
again when the bucket lost it; a beacon says the signer's time and the newest manifest's version, so that hosts know
both without trusting anything in between (docs/protocol.md 4).
"""

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import BEACON_KEY, KV_BEACON, KV_KEYS, manifest_key
from redflag_dispatcher import buckets
from redflag_dispatcher.keys import KeyRing
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.retrying import TRANSIENT
from redflag_ops.logging import get_logger
from redflag_store.queries.keys import manifest_chain
from redflag_wire.beacon import Beacon
from redflag_wire.clock import Clock
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope

_log = get_logger()


class ManifestAnnouncer:
    """Keeps KV ``rf-keys`` equal to the chain in the database, and the key ring with it; ``step`` is one round."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], nc: Client, ring: KeyRing, *, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._nc = nc
        self._ring = ring
        self._clock = clock

    async def step(self) -> bool:
        """Compare and publish what is missing.

        Raises:
            KeySetError: the chain in the database does not hold.
        """
        async with self._sessions() as session, session.begin():
            chain = await manifest_chain(session)
        if self._ring.renew([envelope for _, envelope in chain], self._clock.now()):
            _log.info("keys.manifest", version=self._ring.manifest.version)
        for version, envelope in chain:
            if await buckets.get(self._nc, KV_KEYS, manifest_key(version)) != envelope:
                await buckets.put(self._nc, KV_KEYS, manifest_key(version), envelope)
                _log.info("keys.published", version=version)
        return False


class BeaconAnnouncer:
    """Signs and publishes beacons; ``step`` is one.

    Args:
        nc: the broker.
        ring: the beacon key and the newest manifest.
        live: of the operators: ``agents.minimum_version``.
        fleet: this installation.
        clock: the server's.
    """

    def __init__(self, nc: Client, ring: KeyRing, live: LiveSettings, *, fleet: str, clock: Clock) -> None:
        self._nc = nc
        self._ring = ring
        self._live = live
        self._fleet = fleet
        self._clock = clock
        self._minimum: str | None = None

    def beacon(self) -> bytes:
        """Return a beacon's envelope for now."""
        beacon = Beacon(
            fleet=self._fleet,
            now=self._clock.now(),
            manifest_version=self._ring.manifest.version,
            stop=[],
            min_agent_version=self._minimum,
        )
        return sign_envelope(PayloadType.BEACON, beacon.to_bytes(), self._ring.keys.beacon).to_bytes()

    async def step(self) -> bool:
        """Publish one beacon; while the database is away, with the minimum version known last."""
        try:
            self._minimum = (await self._live.current()).version("agents.minimum_version")
        except TRANSIENT as error:
            _log.warning("beacon.settings_unknown", error=type(error).__name__)
        await buckets.put(self._nc, KV_BEACON, BEACON_KEY, self.beacon())
        return False
