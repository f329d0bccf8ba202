"""Inventories: the current state of packages and the immutable events about them; all set-based.

Guarantees: an inventory is compared with the stored state inside the database and only differences come back, so
one that changed nothing writes nothing. The rows of one agent change under the lock of the agent's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection

PackageKey = tuple[UUID, str, str, str]
"""Agent, manager, name, architecture."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One available update as an inventory lists it."""

    agent_id: UUID
    manager: str
    name: str
    arch: str
    installed: str | None
    candidate: str | None
    origin: str | None
    suite: str | None
    security: bool
    availability: str
    size: int | None
    site: str | None = None
    trusted: bool | None = None
    severity: str | None = None
    reason: str | None = None
    phased_percent: int | None = None

    @property
    def key(self) -> PackageKey:
        """What identifies it on its host."""
        return (self.agent_id, self.manager, self.name, self.arch)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a package."""

    installed: str | None
    candidate: str | None
    availability: str
    state: str
    approved_version: str | None
    command_id: UUID | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A package whose stored and listed state differ.

    Attributes:
        key: which.
        listed: what the inventory says; None when it lists it no more.
        stored: what is stored; None when it is new.
    """

    key: PackageKey
    listed: Listed | None
    stored: Stored | None


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A row of `package_state` as it is to be."""

    listed: Listed
    state: str
    approved_version: str | None
    command_id: UUID | None


@dataclass(frozen=True, slots=True)
class UpdateEventRow:
    """A row of `update_event`."""

    id: UUID
    at: datetime
    key: PackageKey
    kind: str
    from_version: str | None
    to_version: str | None
    command_id: UUID | None = None
    detail: str = "{}"  # JSON text


AT_REST_MAX: Final = 5_000  # packages of one host that are remembered after their last update

_INCOMING_COLUMNS = (
    ("agent_id", "uuid"),
    ("manager", "text"),
    ("name", "text"),
    ("arch", "text"),
    ("installed", "text"),
    ("candidate", "text"),
    ("origin", "text"),
    ("suite", "text"),
    ("security", "boolean"),
    ("availability", "text"),
    ("size", "bigint"),
    ("site", "text"),
    ("trusted", "boolean"),
    ("severity", "text"),
    ("reason", "text"),
    ("phased_percent", "integer"),
)
_NEXT = len(_INCOMING_COLUMNS) + 1  # number of the first parameter behind them
_VALUES = [name for name, _ in _INCOMING_COLUMNS[4:]]  # what may differ
_NAMES = ", ".join(name for name, _ in _INCOMING_COLUMNS)
_UNNEST = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_INCOMING_COLUMNS, start=1))

# A row that is `updated` is at rest: listed again it is news, not listed it is none. So is an ignored one without a
# candidate: the operator's word outlives the update it was said of.
_DIFF = f"""
WITH incoming AS (SELECT * FROM unnest({_UNNEST}) AS i ({_NAMES})),
     stored AS (
         SELECT p.* FROM package_state p
         JOIN unnest(${_NEXT}::uuid[], ${_NEXT + 1}::text[]) AS s (agent_id, manager)
              ON p.agent_id = s.agent_id AND p.manager = s.manager
         UNION ALL
         SELECT p.* FROM package_state p
         JOIN unnest(${_NEXT + 2}::uuid[], ${_NEXT + 3}::text[], ${_NEXT + 4}::text[], ${_NEXT + 5}::text[])
              AS k (agent_id, manager, name, arch)
              ON p.agent_id = k.agent_id AND p.manager = k.manager AND p.name = k.name AND p.arch = k.arch
     )
SELECT coalesce(i.agent_id, p.agent_id) AS agent_id, coalesce(i.manager, p.manager) AS manager,
       coalesce(i.name, p.name) AS name, coalesce(i.arch, p.arch) AS arch,
       i.agent_id IS NOT NULL AS is_listed, p.agent_id IS NOT NULL AS is_stored,
       {", ".join(f"i.{name}" for name in _VALUES)},
       p.installed AS old_installed, p.candidate AS old_candidate, p.availability AS old_availability,
       p.state, p.approved_version, p.command_id
FROM incoming i FULL JOIN stored p
     ON p.agent_id = i.agent_id AND p.manager = i.manager AND p.name = i.name AND p.arch = i.arch
WHERE (i.agent_id IS NULL AND p.state <> 'updated' AND NOT (p.state = 'ignored' AND p.candidate IS NULL))
   OR p.agent_id IS NULL
   OR (i.agent_id IS NOT NULL AND (p.state = 'updated'
       OR ({", ".join(f"i.{name}" for name in _VALUES)}) IS DISTINCT FROM
          ({", ".join(f"p.{name}" for name in _VALUES)})))
"""  # noqa: S608 - built from the constants above only

# A command may end between the comparison and this, by time and without the agent's lock, and release its packages
# (docs/updates.md): what was read as waiting for it does not wait again, for nobody would ever end that.
_UPSERT = f"""
INSERT INTO package_state AS p ({_NAMES}, state, approved_version, command_id, first_seen_at, changed_at)
SELECT i.*, ${_NEXT + 3}::timestamptz, ${_NEXT + 3}::timestamptz
FROM unnest({_UNNEST}, ${_NEXT}::text[], ${_NEXT + 1}::text[], ${_NEXT + 2}::uuid[])
     AS i ({_NAMES}, state, approved_version, command_id)
ON CONFLICT (agent_id, manager, name, arch) DO UPDATE SET
    {", ".join(f"{name} = EXCLUDED.{name}" for name in _VALUES)}, state = CASE
        WHEN EXCLUDED.state NOT IN ('installing', 'checking_dependencies')
          OR p.command_id IS DISTINCT FROM EXCLUDED.command_id
          OR p.state IN ('installing', 'checking_dependencies') THEN EXCLUDED.state
        WHEN p.state = 'failed' THEN 'failed'
        WHEN EXCLUDED.approved_version = EXCLUDED.candidate THEN 'approved'
        ELSE 'pending' END,
    approved_version = EXCLUDED.approved_version, command_id = EXCLUDED.command_id, changed_at = EXCLUDED.changed_at
"""  # noqa: S608 - built from the constants above only

_AT_REST = """
UPDATE package_state p SET approved_version = NULL, command_id = NULL, changed_at = $5,
    state = CASE p.state WHEN 'ignored' THEN 'ignored' ELSE 'updated' END,
    candidate = CASE p.state WHEN 'ignored' THEN NULL ELSE p.candidate END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS g (agent_id, manager, name, arch)
WHERE p.agent_id = g.agent_id AND p.manager = g.manager AND p.name = g.name AND p.arch = g.arch
"""

# A host names new packages for ever (kernels carry their version in the name); what came to rest first is forgotten.
_FORGET = """
DELETE FROM package_state p USING (
    SELECT o.* FROM unnest($1::uuid[]) AS a (id) CROSS JOIN LATERAL (
        SELECT agent_id, manager, name, arch FROM package_state
        WHERE agent_id = a.id AND state = 'updated' ORDER BY changed_at DESC, manager, name, arch OFFSET $2
    ) AS o
) AS old
WHERE p.agent_id = old.agent_id AND p.manager = old.manager AND p.name = old.name AND p.arch = old.arch
"""

_LAPSE = """
UPDATE approval a SET lapsed_at = $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS g (agent_id, manager, name, arch, candidate)
WHERE a.agent_id = g.agent_id AND a.manager = g.manager AND a.name = g.name AND a.arch = g.arch
  AND a.lapsed_at IS NULL AND a.version IS DISTINCT FROM g.candidate
"""

_EVENTS = """
INSERT INTO update_event (id, at, agent_id, manager, name, arch, kind, from_version, to_version, command_id, detail)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::uuid[], $11::jsonb[])
"""


def split_keys(keys: Sequence[PackageKey]) -> list[list[Any]]:
    """Return keys as four columns."""
    return [[key[part] for key in keys] for part in range(4)]


def _listed(rows: Sequence[Listed]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name, _ in _INCOMING_COLUMNS]


async def differences(
    session: AsyncSession,
    scopes: Sequence[tuple[UUID, str]],
    listed: Sequence[Listed],
    keys: Sequence[PackageKey] = (),
) -> list[Difference]:
    """Compare whole inventories, or changes of them, with what is stored.

    Args:
        session: the transaction that holds the agents' locks.
        scopes: the (agent, manager) pairs whose inventory this is; what they list no more is a difference.
        listed: every row of these inventories, and the changed ones of those that say only what changed; each
            key once.
        keys: what the inventories that say only what changed are about: changed and gone; each once.
    """
    connection = await driver_connection(session)
    rows = await connection.fetch(
        _DIFF,
        *_listed(listed),
        [scope[0] for scope in scopes],
        [scope[1] for scope in scopes],
        *split_keys(keys),
    )
    found = []
    for row in rows:
        key = (row["agent_id"], row["manager"], row["name"], row["arch"])
        new = None
        if row["is_listed"]:
            new = Listed(*key, **{name: row[name] for name in _VALUES})
        old = None
        if row["is_stored"]:
            old = Stored(
                row["old_installed"],
                row["old_candidate"],
                row["old_availability"],
                row["state"],
                row["approved_version"],
                row["command_id"],
            )
        found.append(Difference(key, new, old))
    return found


async def write_packages(
    session: AsyncSession,
    rows: Sequence[PackageRow],
    gone: Sequence[PackageKey],
    at: datetime,
    *,
    at_rest_max: int = AT_REST_MAX,
) -> None:
    """Write packages as they are to be; `gone` ones come to rest as `updated`, the newest `at_rest_max` of a host.

    Approvals of other versions than the new candidate lapse, those of a package that is gone too.
    """
    connection = await driver_connection(session)
    if rows:
        await connection.execute(
            _UPSERT,
            *_listed([row.listed for row in rows]),
            [row.state for row in rows],
            [row.approved_version for row in rows],
            [row.command_id for row in rows],
            at,
        )
        await connection.execute(
            _LAPSE, *split_keys([row.listed.key for row in rows]), [row.listed.candidate for row in rows], at
        )
    if gone:
        await connection.execute(_AT_REST, *split_keys(gone), at)
        await connection.execute(_LAPSE, *split_keys(gone), [None] * len(gone), at)
        await connection.execute(_FORGET, sorted({key[0] for key in gone}), at_rest_max)


async def write_update_events(session: AsyncSession, rows: Sequence[UpdateEventRow]) -> None:
    """Append rows to `update_event`."""
    if not rows:
        return
    connection = await driver_connection(session)
    agents, managers, names, arches = split_keys([row.key for row in rows])
    await connection.execute(
        _EVENTS,
        [row.id for row in rows],
        [row.at for row in rows],
        agents,
        managers,
        names,
        arches,
        [row.kind for row in rows],
        [row.from_version for row in rows],
        [row.to_version for row in rows],
        [row.command_id for row in rows],
        [row.detail for row in rows],
    )


async def note_inventories(
    session: AsyncSession, rows: Sequence[tuple[UUID, int | None, bool]], at: datetime
) -> None:
    """Write (agent, age of its package lists in seconds, reboot required) of inventories just stored."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        """
        UPDATE agent a SET inventory_at = $4, inventory_source_age_s = n.age, reboot_required = n.reboot
        FROM unnest($1::uuid[], $2::bigint[], $3::boolean[]) AS n (id, age, reboot) WHERE a.id = n.id
        """,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        at,
    )
