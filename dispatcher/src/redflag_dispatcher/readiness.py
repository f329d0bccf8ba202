"""What a dispatcher still waits for: one word per part, None when it is well."""

from nats.aio.client import Client
from nats.errors import Error as BrokerClientError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from redflag_store.queries.transient import TRANSIENT

BROKER_DEADLINE_S = 2


class Readiness:
    """Answers the probe. Parts are filled in while the program starts.

    Attributes:
        waiting: why it is not serving yet; None once it is.
        engine: the database, once opened.
        nc: the broker, once connected.
    """

    def __init__(self) -> None:
        self.waiting: str | None = "starting"
        self.engine: AsyncEngine | None = None
        self.nc: Client | None = None

    async def __call__(self) -> dict[str, str | None]:
        """Return each part's name and what is wrong with it."""
        return {"start": self.waiting, "database": await self._database(), "broker": await self._broker()}

    async def _database(self) -> str | None:
        if self.engine is None:
            return "not connected yet"
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except TRANSIENT as error:
            return str(error).partition("\n")[0][:200] or type(error).__name__
        return None

    async def _broker(self) -> str | None:
        if self.nc is None:
            return "not connected yet"
        if not self.nc.is_connected:
            return "connection lost"
        try:
            # A server that hangs keeps its connections; only an answer shows that it lives.
            await self.nc.flush(BROKER_DEADLINE_S)
        except (OSError, TimeoutError, BrokerClientError):
            return f"no answer within {BROKER_DEADLINE_S} s"
        return None
