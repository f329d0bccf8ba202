"""Rate limits as PostgreSQL keeps them: read, decided by `redflag_store.gcra`, written back under a lock.

Guarantees: agents' limits are read and written under the locks of the agents' rows, which the caller holds; the
fleet's under the locks of their own rows, taken in the order of the keys. So a limit is exact across restarts and for
any number of programs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.fleet_settings import FleetSettings
from redflag_store.gcra import Grant, Rate, grant

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


def agent_rate(settings: FleetSettings, *, own: bool = False) -> Rate:
    """Return what one host may be asked for.

    Args:
        settings: in force.
        own: asked for by RedFlag itself, which uses up half of what may come at once and leaves the rest to people:
            scans that are due every minute do not keep an operator from a host.
    """
    burst = settings.number("limits.agent_commands_burst")
    return Rate(
        settings.number("limits.agent_commands_per_hour"), HOUR_S, max(1, burst // 2) if own else burst
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
    session: AsyncSession,
    settings: FleetSettings,
    agents: Mapping[UUID, int],
    now: datetime,
    *,
    own: bool = False,
) -> dict[UUID, Grant]:
    """Let pass what each agent's limit allows, and store it; the caller holds the agents' row locks.

    Args:
        session: inside the caller's transaction.
        settings: in force.
        agents: how many each is asked for.
        now: the server's clock.
        own: see `agent_rate`.
    """
    if not agents:
        return {}
    connection = await driver_connection(session)
    rate = agent_rate(settings, own=own)
    known = {row["agent_id"]: row["tat"] for row in await connection.fetch(_AGENTS, list(agents))}
    grants = {agent: grant(rate, known.get(agent), now, wanted) for agent, wanted in agents.items()}
    passed = {agent: one.tat for agent, one in grants.items() if one.count}
    if passed:
        await connection.execute(_SET_AGENTS, list(passed), list(passed.values()))
    return grants


async def fleet_tats(session: AsyncSession, keys: Sequence[str]) -> dict[str, datetime]:
    """Return where these limits stand; nothing is locked, and one never used is left out."""
    if not keys:
        return {}
    connection = await driver_connection(session)
    return {row["key"]: row["tat"] for row in await connection.fetch(_FLEET, list(keys))}


async def lock_fleet_tats(session: AsyncSession, keys: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Lock these limits and return where they stand. Commit soon: every signer waits meanwhile."""
    wanted = sorted(keys)
    connection = await driver_connection(session)
    rows = await connection.fetch(_LOCK_FLEET, wanted)
    if len(rows) < len(wanted):
        await connection.execute(_MAKE_FLEET, wanted, now)
        rows = await connection.fetch(_LOCK_FLEET, wanted)
    return {row["key"]: row["tat"] for row in rows}


async def set_fleet_tats(session: AsyncSession, tats: Mapping[str, datetime]) -> None:
    """Store where locked limits stand now."""
    connection = await driver_connection(session)
    await connection.execute(_SET_FLEET, list(tats), list(tats.values()))
