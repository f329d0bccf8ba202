"""What ingest reads and writes of agents, reports and commands; what reports say about packages is `inventory`.

Guarantees: agents are locked in the order of their ids before their chains are read, so two dispatchers never
judge one chain at once; a report is stored once by its id and once by (agent, rseq); a command changes only from
the state it was read in, under its row's lock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class KeysRow:
    """An agent's public keys in use, raw, and its standing."""

    agent_id: UUID
    state: str
    agent_pub: bytes
    receipt_pub: bytes


@dataclass(frozen=True, slots=True)
class ChainRow:
    """Where an agent's chain stands in the database; see `report_chain` of the dispatcher.

    Attributes:
        agent_id: the agent, its row now locked.
        last_rseq: highest contiguous number stored.
        ahead: stored numbers above it.
        agent_last: (rseq, digest) of the newest report signed with the agent key, None for none.
        receipt_last: the same for the receipt key.
    """

    agent_id: UUID
    last_rseq: int
    ahead: frozenset[int]
    agent_last: tuple[int, str] | None
    receipt_last: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A report as it came."""

    report_id: UUID
    agent_id: UUID
    rseq: int
    prev: str | None
    digest: str
    kind: str
    cmd: UUID | None
    state: str | None
    received_at: datetime
    envelope: bytes
    body: bytes | None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command under lock, as a report is held against it."""

    id: UUID
    agent_id: UUID
    kind: str
    op: UUID | None
    state: str
    digest: str | None
    exp: datetime | None
    params: str
    code: str | None = None


@dataclass(slots=True)
class CommandChange:
    """What a command's row becomes; a None leaves the column as it is."""

    id: UUID
    state: str
    result: str | None = None
    delivered_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    agent_started_at: datetime | None = None
    agent_finished_at: datetime | None = None
    code: str | None = None
    error: str | None = None
    plan_digest: str | None = None
    summary: str | None = None  # JSON text
    exit_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    duration_ms: int | None = None


_KEYS = """
SELECT a.id AS agent_id, a.state, k.pub AS agent_pub, r.pub AS receipt_pub
FROM agent a
JOIN agent_key k ON k.agent_id = a.id AND k.role = 'agent' AND k.retired_at IS NULL
JOIN agent_key r ON r.agent_id = a.id AND r.role = 'receipt' AND r.retired_at IS NULL
WHERE a.id = ANY($1::uuid[])
"""

_LOCK = "SELECT id, last_rseq FROM agent WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

# Two probes of the (agent_id, rseq) index per agent, newest first.
_TAILS = """
SELECT a.id, t.by_receipt, t.rseq, t.digest
FROM unnest($1::uuid[]) AS a (id)
CROSS JOIN LATERAL (
    (SELECT true AS by_receipt, rseq, digest FROM report_inbox i
     WHERE i.agent_id = a.id AND i.kind = 'command' ORDER BY rseq DESC LIMIT 1)
    UNION ALL
    (SELECT false, rseq, digest FROM report_inbox i
     WHERE i.agent_id = a.id AND i.kind <> 'command' ORDER BY rseq DESC LIMIT 1)
) t
"""

_AHEAD = """
SELECT i.agent_id, i.rseq FROM report_inbox i
JOIN unnest($1::uuid[], $2::bigint[]) AS a (id, last) ON i.agent_id = a.id AND i.rseq > a.last
"""

_INBOX = """
INSERT INTO report_inbox (report_id, agent_id, rseq, prev, digest, kind, cmd, state, received_at, envelope, body)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                     $8::text[], $9::timestamptz[], $10::bytea[], $11::bytea[])
"""

_COMMANDS = """
SELECT id, agent_id, kind, op, state, code, digest, exp, params::text AS params FROM command
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

_CHANGE_COLUMNS: tuple[tuple[str, str], ...] = (
    ("result", "text"),
    ("delivered_at", "timestamptz"),
    ("started_at", "timestamptz"),
    ("finished_at", "timestamptz"),
    ("agent_started_at", "timestamptz"),
    ("agent_finished_at", "timestamptz"),
    ("code", "text"),
    ("error", "text"),
    ("plan_digest", "text"),
    ("summary", "jsonb"),
    ("exit_code", "integer"),
    ("stdout", "text"),
    ("stderr", "text"),
    ("duration_ms", "bigint"),
)

# The code of an end the server concluded from silence goes with it when the host's own end replaces it.
_CHANGE = (  # built from the constant above only
    "UPDATE command c SET state = n.state, "  # noqa: S608
    + ", ".join(
        f"{name} = coalesce(n.{name}, c.{name})"
        if name != "code"
        else "code = CASE WHEN c.state IN ('expired', 'parked', 'unknown') "
        "THEN n.code ELSE coalesce(n.code, c.code) END"
        for name, _ in _CHANGE_COLUMNS
    )
    + " FROM unnest($1::uuid[], $2::text[], "
    + ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_CHANGE_COLUMNS, start=3))
    + ") AS n (id, state, "
    + ", ".join(name for name, _ in _CHANGE_COLUMNS)
    + ") WHERE c.id = n.id"
)

_AGENT_TIMES = """
UPDATE agent a SET last_rseq = greatest(a.last_rseq, n.rseq), last_report_at = $3,
                   last_seen_at = greatest(a.last_seen_at, $3)
FROM unnest($1::uuid[], $2::bigint[]) AS n (id, rseq) WHERE a.id = n.id
"""

_FACTS = """
UPDATE agent a SET hostname = n.hostname, os_id = n.os_id, os_name = n.os_name, os_version = n.os_version,
                   arch = n.arch, kernel = n.kernel, agent_version = n.agent_version, boot_id = n.boot_id,
                   capabilities = n.capabilities
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::jsonb[])
     AS n (id, hostname, os_id, os_name, os_version, arch, kernel, agent_version, boot_id, capabilities)
WHERE a.id = n.id
"""


async def agent_keys(session: AsyncSession, agents: Collection[UUID]) -> dict[UUID, KeysRow]:
    """Return the keys in use of these agents; one that is not enrolled is left out."""
    connection = await driver_connection(session)
    rows = await connection.fetch(_KEYS, list(agents))
    return {
        row["agent_id"]: KeysRow(
            row["agent_id"], row["state"], bytes(row["agent_pub"]), bytes(row["receipt_pub"])
        )
        for row in rows
    }


async def lock_chains(session: AsyncSession, agents: Collection[UUID]) -> dict[UUID, ChainRow]:
    """Lock these agents' rows and return where their chains stand."""
    connection = await driver_connection(session)
    last = {row["id"]: row["last_rseq"] for row in await connection.fetch(_LOCK, list(agents))}
    ids = list(last)
    ahead: dict[UUID, set[int]] = {}
    for row in await connection.fetch(_AHEAD, ids, list(last.values())):
        ahead.setdefault(row["agent_id"], set()).add(row["rseq"])
    tails: dict[tuple[UUID, bool], tuple[int, str]] = {}
    for row in await connection.fetch(_TAILS, ids):
        tails[row["id"], row["by_receipt"]] = (row["rseq"], row["digest"])
    return {
        agent: ChainRow(
            agent_id=agent,
            last_rseq=last[agent],
            ahead=frozenset(ahead.get(agent, ())),
            agent_last=tails.get((agent, False)),
            receipt_last=tails.get((agent, True)),
        )
        for agent in ids
    }


@dataclass(frozen=True, slots=True)
class KnownReport:
    """A report that is stored already."""

    digest: str
    received_at: datetime


async def known_reports(session: AsyncSession, reports: Collection[UUID]) -> dict[UUID, KnownReport]:
    """Return those of these reports that are stored already."""
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT report_id, digest, received_at FROM report_inbox WHERE report_id = ANY($1::uuid[])",
        list(reports),
    )
    return {row["report_id"]: KnownReport(row["digest"], row["received_at"]) for row in rows}


async def taken_numbers(
    session: AsyncSession, numbers: Sequence[tuple[UUID, int]]
) -> frozenset[tuple[UUID, int]]:
    """Return those of these (agent, rseq) under which a report is stored."""
    if not numbers:
        return frozenset()
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT i.agent_id, i.rseq FROM report_inbox i "
        "JOIN unnest($1::uuid[], $2::bigint[]) AS n (agent_id, rseq) USING (agent_id, rseq)",
        [agent for agent, _ in numbers],
        [rseq for _, rseq in numbers],
    )
    return frozenset((row["agent_id"], row["rseq"]) for row in rows)


async def store_reports(session: AsyncSession, rows: Sequence[InboxRow]) -> None:
    """Store new reports."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _INBOX,
        [row.report_id for row in rows],
        [row.agent_id for row in rows],
        [row.rseq for row in rows],
        [row.prev for row in rows],
        [row.digest for row in rows],
        [row.kind for row in rows],
        [row.cmd for row in rows],
        [row.state for row in rows],
        [row.received_at for row in rows],
        [row.envelope for row in rows],
        [row.body for row in rows],
    )


async def lock_commands(session: AsyncSession, commands: Collection[UUID]) -> dict[UUID, CommandRow]:
    """Lock these commands' rows, in the order of their ids; one that does not exist is left out."""
    if not commands:
        return {}
    connection = await driver_connection(session)
    return {row["id"]: CommandRow(**dict(row)) for row in await connection.fetch(_COMMANDS, list(commands))}


async def change_commands(session: AsyncSession, changes: Sequence[CommandChange]) -> None:
    """Write the changes, at most one per command, and drop the outbox rows of commands a host now has."""
    if not changes:
        return
    connection = await driver_connection(session)
    columns: list[list[Any]] = [[getattr(change, name) for change in changes] for name, _ in _CHANGE_COLUMNS]
    ids = [change.id for change in changes]
    await connection.execute(_CHANGE, ids, [change.state for change in changes], *columns)
    await connection.execute("DELETE FROM outbox WHERE command_id = ANY($1::uuid[])", ids)


async def note_agents(session: AsyncSession, confirmed: dict[UUID, int], at: datetime) -> None:
    """Write each agent's highest contiguous number and the time of its last stored report."""
    if not confirmed:
        return
    connection = await driver_connection(session)
    await connection.execute(_AGENT_TIMES, list(confirmed), list(confirmed.values()), at)


@dataclass(frozen=True, slots=True)
class FactsRow:
    """What a host says it is."""

    agent_id: UUID
    hostname: str
    os_id: str | None
    os_name: str | None
    os_version: str | None
    arch: str | None
    kernel: str | None
    agent_version: str | None
    boot_id: str | None
    capabilities: str  # JSON text


async def store_facts(session: AsyncSession, rows: Sequence[FactsRow]) -> None:
    """Write facts into the agents' rows, at most one row per agent."""
    if not rows:
        return
    connection = await driver_connection(session)
    names = FactsRow.__slots__
    await connection.execute(_FACTS, *[[getattr(row, name) for row in rows] for name in names])


_PRESENCE = """
WITH seen AS (
    SELECT a.id, n.at FROM agent a JOIN unnest($1::uuid[], $2::timestamptz[]) AS n (id, at) ON n.id = a.id
    WHERE a.last_seen_at IS NULL OR a.last_seen_at < n.at
    ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE agent a SET last_seen_at = seen.at FROM seen WHERE a.id = seen.id
"""


async def note_presence(session: AsyncSession, seen: dict[UUID, datetime]) -> None:
    """Write when agents were last seen, never backwards; locks them in the order of their ids."""
    if seen:
        connection = await driver_connection(session)
        await connection.execute(_PRESENCE, list(seen), list(seen.values()))
