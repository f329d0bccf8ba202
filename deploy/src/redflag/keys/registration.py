"""Making the database agree with the keys on disk: the manifest, the admin's API key, this host's enrolment token.

Each step looks first and can be repeated; none replaces what the database already holds.
"""

from datetime import timedelta

from redflag.keys.errors import OtherFleetError
from redflag.keys.fleet_keys import FleetKeys
from redflag_store.engine import open_engine, sessions
from redflag_store.queries.api_keys import find_api_key, insert_api_key
from redflag_store.queries.keys import manifest_chain
from redflag_store.tables import EnrollmentToken, KeyManifest
from redflag_wire.clock import Clock
from redflag_wire.enrolment_token import EnrolmentToken

ADMIN_NAME = "admin"
ADMIN_SCOPES = ("read", "write", "admin")
TOKEN_LIFE = timedelta(hours=24)  # docs/protocol.md 8.1
CREATED_BY = "redflag up"


class Registrar:
    """Works on the database as its owner; close it after use.

    Args:
        owner_url: the database; migrated.
        clock: dates the rows.
    """

    def __init__(self, owner_url: str, clock: Clock) -> None:
        self._engine = open_engine(owner_url, pool_size=1, application_name="redflag-up")
        self._sessions = sessions(self._engine)
        self._clock = clock

    async def close(self) -> None:
        """Close the connection."""
        await self._engine.dispose()

    async def has_manifest(self) -> bool:
        """Tell whether the database belongs to a fleet already."""
        async with self._sessions() as session:
            return bool(await manifest_chain(session))

    async def put_manifest(self, keys: FleetKeys) -> None:
        """Store manifest version 1.

        Raises:
            OtherFleetError: the database holds another one.
        """
        async with self._sessions.begin() as session:
            chain = await manifest_chain(session)
            if not chain:
                session.add(KeyManifest(version=1, envelope=keys.manifest, created_at=self._clock.now()))
            elif chain[0] != (1, keys.manifest):
                raise OtherFleetError(keys.keys_dir)

    async def put_admin_key(self, text: str) -> None:
        """Store the admin's API key by its hash."""
        async with self._sessions.begin() as session:
            if await find_api_key(session, text) is None:
                await insert_api_key(session, text, name=ADMIN_NAME, scopes=ADMIN_SCOPES, clock=self._clock)

    async def put_token(self, token: EnrolmentToken) -> None:
        """Store a token with one seat for this host's agent, approved in advance."""
        now = self._clock.now()
        async with self._sessions.begin() as session:
            session.add(
                EnrollmentToken(
                    id=token.token_id,
                    pub=token.public.raw,
                    max_seats=1,
                    expires_at=now + TOKEN_LIFE,
                    auto_approve=True,
                    created_by=CREATED_BY,
                    created_at=now,
                    note="this host",
                )
            )

    async def token_used(self, token_id: str) -> bool | None:
        """Tell whether a token's seat is taken; None when the token is unknown, expired or revoked unused."""
        async with self._sessions() as session:
            row = await session.get(EnrollmentToken, token_id)
        if row is None:
            return None
        if row.used:
            return True
        return None if row.revoked_at is not None or row.expires_at <= self._clock.now() else False
