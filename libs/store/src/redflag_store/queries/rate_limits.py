"""Rate limits as PostgreSQL keeps them: read, decided by `redflag_store.gcra`, written back under a lock.

Guarantees: agents' limits are read and written under the locks of the agents' rows, which the caller holds; the
fleet's under the locks of their own rows, taken in the order of the keys. So a limit is exact across restarts and for
any number of programs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.fleet_settings import FleetSettings
from redflag_store.gcra import Grant, Rate, free, grant

HOUR_S: Final = 3600
MINUTE_S: Final = 60
FLEET: Final = "fleet"
_KIND_BURST_SHARE: Final = 10  # a kind may use a tenth of its minute at once

_AGENTS = "SELECT agent_id, tat FROM agent_rate WHERE agent_id = ANY($1::uuid[])"

_SET_AGENTS = """
INSERT INTO agent_rate (agent_id, tat) SELECT * FROM unnest($1::uuid[], $2::timestamptz[])
ON CONFLICT (agent_id) DO UPDATE SET tat = EXCLUDED.tat
"""

_FLEET = "SELECT key, tat FROM fleet_rate WHERE key = ANY($1::text[])"

_LOCK_FLEET = _FLEET + " ORDER BY key FOR UPDATE"

_MAKE_FLEET = """
INSERT INTO fleet_rate (key, tat) SELECT key, $2::timestamptz FROM unnest($1::text[]) AS u (key) ORDER BY key
ON CONFLICT (key) DO NOTHING
"""

_SET_FLEET = """
UPDATE fleet_rate f SET tat = n.tat FROM unnest($1::text[], $2::timestamptz[]) AS n (key, tat) WHERE f.key = n.key
"""


def agent_rate(settings: FleetSettings) -> Rate:
    """Return what one host may be asked for."""
    return Rate(
        settings.number("limits.agent_commands_per_hour"),
        HOUR_S,
        settings.number("limits.agent_commands_burst"),
    )


def fleet_rate(settings: FleetSettings) -> Rate:
    """Return what may be signed in the whole fleet."""
    return Rate(
        settings.number("limits.fleet_commands_per_minute"),
        MINUTE_S,
        settings.number("limits.fleet_commands_burst"),
    )


def kind_rate(settings: FleetSettings, kind: str) -> Rate:
    """Return what may be signed of one kind: its number per minute, a tenth of it at once.

    Raises:
        KeyError: the kind has no limit; cancels have none.
    """
    per_minute = settings.number(f"limits.{kind}_per_minute")
    return Rate(per_minute, MINUTE_S, -(-per_minute // _KIND_BURST_SHARE))


async def take_for_agents(
    session: AsyncSession, settings: FleetSettings, agents: Mapping[UUID, int], now: datetime
) -> dict[UUID, Grant]:
    """Let pass what each agent's limit allows, and store it; the caller holds the agents' row locks.

    Args:
        session: inside the caller's transaction.
        settings: in force.
        agents: how many each is asked for.
        now: the server's clock.
    """
    if not agents:
        return {}
    connection = await driver_connection(session)
    rate = agent_rate(settings)
    known = {row["agent_id"]: row["tat"] for row in await connection.fetch(_AGENTS, list(agents))}
    grants = {agent: grant(rate, known.get(agent), now, wanted) for agent, wanted in agents.items()}
    passed = {agent: one.tat for agent, one in grants.items() if one.count}
    if passed:
        await connection.execute(_SET_AGENTS, list(passed), list(passed.values()))
    return grants


async def free_in_fleet(session: AsyncSession, rates: Mapping[str, Rate], now: datetime) -> dict[str, int]:
    """Return how many each of these limits would let pass now; nothing is taken."""
    connection = await driver_connection(session)
    known = {row["key"]: row["tat"] for row in await connection.fetch(_FLEET, list(rates))}
    return {key: free(rate, known.get(key), now) for key, rate in rates.items()}


async def take_in_fleet(
    session: AsyncSession, rates: Mapping[str, Rate], wanted: Mapping[str, int], now: datetime
) -> dict[str, int]:
    """Take from these limits what they let pass, each for itself; return how many.

    Commit soon: the rows stay locked until then.
    """
    keys = sorted(rates)
    if not keys:
        return {}
    connection = await driver_connection(session)
    rows = await connection.fetch(_LOCK_FLEET, keys)
    if len(rows) < len(keys):
        await connection.execute(_MAKE_FLEET, keys, now)
        rows = await connection.fetch(_LOCK_FLEET, keys)
    known = {row["key"]: row["tat"] for row in rows}
    grants = {key: grant(rates[key], known[key], now, wanted.get(key, 0)) for key in keys}
    await connection.execute(_SET_FLEET, keys, [grants[key].tat for key in keys])
    return {key: one.count for key, one in grants.items()}
