"""Which inventory of each host and package manager is stored, by the digest the host gives it.

The rows of one agent are read and written under the lock of the agent's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of the inventory of one package manager of one host.

    Attributes:
        agent_id: the host.
        manager: the package manager.
        digest: of the host's set, when all of it is stored here; None when it is not, or the host gives none.
        host_digest: of the set the host sent last, broken rows of which were left out.
        refused_rows: how many were left out of the last whole inventory and the changes since.
        rows: how many updates the host lists, those left out not counted.
        source_age_s: seconds since its package lists were fetched, when it looked.
        looked_at: when it looked last, by the server's clock.
        changed_at: when something was new last.
        asked_at: when the whole was asked for last.
    """

    agent_id: UUID
    manager: str
    digest: str | None
    host_digest: str | None
    refused_rows: int
    rows: int
    source_age_s: int | None
    looked_at: datetime
    changed_at: datetime
    asked_at: datetime | None


_COLUMNS = tuple(Held.__slots__)
_READ = f"""
SELECT {", ".join(f"h.{name}" for name in _COLUMNS)} FROM agent_inventory h
JOIN unnest($1::uuid[], $2::text[]) AS k (agent_id, manager) USING (agent_id, manager)
"""  # noqa: S608 - built from the constant above only
_WRITE = f"""
INSERT INTO agent_inventory ({", ".join(_COLUMNS)})
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::bigint[],
                     $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])
ON CONFLICT (agent_id, manager) DO UPDATE SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _COLUMNS[2:])}
"""  # noqa: S608 - built from the constant above only


async def held_inventories(
    session: AsyncSession, pairs: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], Held]:
    """What is held of these (agent, manager) pairs; one never stored is left out."""
    connection = await driver_connection(session)
    rows = await connection.fetch(_READ, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return {(row["agent_id"], row["manager"]): Held(**dict(row)) for row in rows}


async def managers_held(session: AsyncSession, agents: Sequence[UUID]) -> dict[UUID, int]:
    """How many package managers' inventories are held of each of these hosts; a host without any is left out."""
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT agent_id, count(*) AS held FROM agent_inventory WHERE agent_id = ANY($1::uuid[]) GROUP BY agent_id",
        list(agents),
    )
    return {row["agent_id"]: row["held"] for row in rows}


async def write_held(session: AsyncSession, rows: Sequence[Held]) -> None:
    """Write what is held now, each pair once."""
    if rows:
        connection = await driver_connection(session)
        await connection.execute(_WRITE, *[[getattr(row, name) for row in rows] for name in _COLUMNS])
