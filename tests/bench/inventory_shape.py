"""inventory_shape: one row per host and update, beside sets of updates that hosts share (docs/adr/0007).

Both shapes are seeded with the same fleet: hosts of LEVELS distributions and patch levels, UPDATES updates each out of
PACKAGES packages, and OWN updates of every host that an operator decided on or that differ. The shape of the sets has
one row per set and update, one pointer per host, and a row of its own per host only for those OWN ones. A third column
shows what becomes of sets when hosts differ by themselves (phased updates, a package held here and there) and no base
set is looked for: each such host then has a set of its own.

The server runs without durability, so the figures are of CPU and memory, not of the disk's fsync.
"""

import os
import time
import uuid
from typing import Any

import asyncpg

from tests.bench.figures import Figures
from tests.support.postgres import running_postgres

HOSTS = max(20_000, int(os.environ.get("REDFLAG_BENCH_HOSTS", "100000")))  # a level must have a batch a round
LEVELS = 20
UPDATES = 50
PACKAGES = 400
OWN = 2
BATCH = 200  # hosts whose inventory one transaction takes
ROUNDS = 5
DIFFERENT_PERCENT = 30  # hosts of the third column whose set is like no other's

ROWS, SETS, ALONE = "rows", "shared sets", "sets, 30% own"

_ITEM = "manager text, name text, arch text, installed text, candidate text, origin text, suite text, security boolean"
_LEVEL_ITEMS = f"""
SELECT l AS level, 'apt' AS manager, 'package-' || lpad(((l * 7 + i * 8) % {PACKAGES})::text, 4, '0') AS name,
       'amd64' AS arch, '1.2.' || l || '-0ubuntu1' AS installed, '1.2.' || (l + 1) || '-0ubuntu1.4' AS candidate,
       'Ubuntu' AS origin, 'noble-updates' AS suite, i % 5 = 0 AS security
FROM generate_series(0, {LEVELS - 1}) l, generate_series(0, {UPDATES - 1}) i
"""  # noqa: S608 - constants only
_AGENT = "md5('host' || n)::uuid"

SEED = f"""
CREATE TABLE host (id uuid PRIMARY KEY, hostname text NOT NULL, level int NOT NULL);
INSERT INTO host SELECT {_AGENT}, 'host-' || n, n % {LEVELS} FROM generate_series(1, $HOSTS$) n;
CREATE TABLE level_item AS {_LEVEL_ITEMS};

CREATE TABLE package_row (agent_id uuid, {_ITEM}, availability text, size bigint, state text, approved_version text,
    command_id uuid, first_seen_at timestamptz, changed_at timestamptz);
INSERT INTO package_row SELECT h.id, i.manager, i.name, i.arch, i.installed, i.candidate, i.origin, i.suite, i.security,
    'available', 1234567, CASE WHEN right(i.name, 1) = '0' THEN 'approved' ELSE 'pending' END, NULL, NULL, now(), now()
    FROM host h JOIN level_item i USING (level);
ALTER TABLE package_row ADD PRIMARY KEY (agent_id, manager, name, arch);
CREATE INDEX ON package_row (name, manager, arch, agent_id) WHERE state <> 'updated';
CREATE INDEX ON package_row (state, name, manager, arch, agent_id);

CREATE TABLE update_set (id int PRIMARY KEY, digest bytea UNIQUE, members int);
CREATE TABLE update_set_item (set_id int, {_ITEM}, availability text, size bigint);
INSERT INTO update_set SELECT l, sha256(l::text::bytea), 0 FROM generate_series(0, {LEVELS - 1}) l;
INSERT INTO update_set_item SELECT level, manager, name, arch, installed, candidate, origin, suite, security,
    'available', 1234567 FROM level_item;
ALTER TABLE update_set_item ADD PRIMARY KEY (set_id, manager, name, arch);
CREATE INDEX ON update_set_item (name, manager, arch, set_id);
CREATE TABLE agent_update_set (agent_id uuid, manager text, set_id int, looked_at timestamptz);
INSERT INTO agent_update_set SELECT id, 'apt', level, now() FROM host;
ALTER TABLE agent_update_set ADD PRIMARY KEY (agent_id, manager);
CREATE INDEX ON agent_update_set (set_id, agent_id);
CREATE TABLE package_own (LIKE package_row);
INSERT INTO package_own SELECT p.* FROM package_row p JOIN host h ON h.id = p.agent_id
    WHERE p.name IN (SELECT name FROM level_item i WHERE i.level = h.level ORDER BY name LIMIT {OWN});
ALTER TABLE package_own ADD PRIMARY KEY (agent_id, manager, name, arch);
CREATE INDEX ON package_own (name, manager, arch, agent_id);

CREATE TABLE lone_set_item (LIKE update_set_item);
INSERT INTO lone_set_item SELECT 100 + row_number() OVER (PARTITION BY i.name, i.level), i.manager, i.name, i.arch,
    i.installed, i.candidate, i.origin, i.suite, i.security, 'available', 1234567
    FROM host h JOIN level_item i USING (level)
    WHERE ('x' || right(h.id::text, 4))::bit(16)::int % 100 < {DIFFERENT_PERCENT};
CREATE INDEX ON lone_set_item (name, manager, arch, set_id);
CREATE INDEX ON lone_set_item (set_id, manager, name, arch);
"""  # noqa: S608 - constants only

SIZES = {
    ROWS: ("package_row",),
    SETS: ("update_set", "update_set_item", "agent_update_set", "package_own"),
    ALONE: ("update_set", "update_set_item", "agent_update_set", "package_own", "lone_set_item"),
}

ROW_PAGE = """
SELECT p.*, h.hostname FROM package_row p JOIN host h ON h.id = p.agent_id
WHERE p.state <> 'updated' AND (p.name, p.manager, p.arch, p.agent_id) > ($1, 'apt', 'amd64', $2)
ORDER BY p.name, p.manager, p.arch, p.agent_id LIMIT 51
"""
SET_PAGE = """
SELECT x.*, h.hostname
FROM (SELECT DISTINCT name, manager, arch FROM update_set_item WHERE name >= $1 ORDER BY name, manager, arch) k
CROSS JOIN LATERAL (
    (SELECT s.agent_id, i.name, i.installed, i.candidate, i.security, 'pending' AS state
     FROM update_set_item i JOIN agent_update_set s ON s.set_id = i.set_id AND s.manager = i.manager
     WHERE (i.name, i.manager, i.arch) = (k.name, k.manager, k.arch) AND (k.name > $1 OR s.agent_id > $2)
       AND NOT EXISTS (SELECT FROM package_own o WHERE (o.agent_id, o.manager, o.name, o.arch)
                                                     = (s.agent_id, i.manager, i.name, i.arch))
     ORDER BY s.agent_id LIMIT 51)
    UNION ALL
    (SELECT o.agent_id, o.name, o.installed, o.candidate, o.security, o.state FROM package_own o
     WHERE (o.name, o.manager, o.arch) = (k.name, k.manager, k.arch) AND o.state <> 'updated'
       AND (k.name > $1 OR o.agent_id > $2) ORDER BY o.agent_id LIMIT 51)
    ORDER BY agent_id LIMIT 51) x
JOIN host h ON h.id = x.agent_id
LIMIT 51
"""
ROW_HOST = "SELECT * FROM package_row WHERE agent_id = $1 AND state <> 'updated' ORDER BY manager, name, arch"
SET_HOST = """
SELECT i.name, i.candidate, coalesce(o.state, 'pending') FROM agent_update_set s
JOIN update_set_item i ON i.set_id = s.set_id AND i.manager = s.manager
LEFT JOIN package_own o ON (o.agent_id, o.manager, o.name, o.arch) = (s.agent_id, i.manager, i.name, i.arch)
WHERE s.agent_id = $1 ORDER BY i.manager, i.name, i.arch
"""
ROW_COUNTS = "SELECT state, count(*) FROM package_row WHERE name LIKE $1 GROUP BY state"
SET_COUNTS = """
WITH member AS (SELECT set_id, count(*) AS hosts FROM agent_update_set GROUP BY set_id),
     own AS (SELECT state, count(*) AS n FROM package_own WHERE name LIKE $1 GROUP BY state)
SELECT 'pending', (SELECT sum(m.hosts) FROM update_set_item i JOIN member m USING (set_id) WHERE i.name LIKE $1)
                  - (SELECT sum(n) FROM own)
UNION ALL SELECT state, n FROM own
"""
ROW_DIFF = """
SELECT coalesce(i.agent_id, p.agent_id), i.name, p.state
FROM (SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS i (agent_id, name, candidate)) i
FULL JOIN (SELECT p.* FROM package_row p WHERE p.agent_id = ANY($4::uuid[])) p
     ON p.agent_id = i.agent_id AND p.name = i.name AND p.manager = 'apt' AND p.arch = 'amd64'
WHERE i.candidate IS DISTINCT FROM p.candidate
"""
ROW_WRITE = """
UPDATE package_row p SET candidate = i.candidate, changed_at = now()
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS i (agent_id, name, candidate)
WHERE p.agent_id = i.agent_id AND p.manager = 'apt' AND p.name = i.name AND p.arch = 'amd64'
"""
SET_LOOK = """
UPDATE agent_update_set SET looked_at = now() WHERE agent_id = ANY($1::uuid[]) AND manager = 'apt'
"""
SET_NEW = """
INSERT INTO update_set_item SELECT $1, manager, name, arch, installed, candidate || '.1', origin, suite, security,
    availability, size FROM update_set_item WHERE set_id = 0
"""
SET_MOVE = "UPDATE agent_update_set SET set_id = $2, looked_at = now() WHERE agent_id = ANY($1::uuid[])"

Connection = Any  # asyncpg ships no types


async def _timed(connection: Connection, statement: str, *values: object) -> float:
    before = time.perf_counter()
    await connection.fetch(statement, *values)
    return (time.perf_counter() - before) * 1000


async def _seed(connection: Connection, hosts: int) -> None:
    for statement in SEED.replace("$HOSTS$", str(hosts)).split(";"):
        if statement.strip():
            await connection.execute(statement, timeout=540)
    await connection.execute("VACUUM ANALYZE", timeout=300)


async def _reads(connection: Connection, found: Figures) -> None:
    agent = await connection.fetchval("SELECT id FROM host ORDER BY id OFFSET 1000 LIMIT 1")
    none = uuid.UUID(int=0)
    work = {
        "list by package, first page, ms": (ROW_PAGE, SET_PAGE, ("", none)),
        "list by package, a middle page, ms": (ROW_PAGE, SET_PAGE, (f"package-{PACKAGES // 2:04d}", agent)),
        "list of one host, ms": (ROW_HOST, SET_HOST, (agent,)),
        "counts by state, ms": (ROW_COUNTS, SET_COUNTS, ("%",)),
        "counts by state with a name filter, ms": (ROW_COUNTS, SET_COUNTS, ("%-00%",)),
    }
    for _ in range(ROUNDS):
        for figure, (rows, sets, values) in work.items():
            found.add(figure, ROWS, await _timed(connection, rows, *values))
            found.add(figure, SETS, await _timed(connection, sets, *values))


async def _ingest(connection: Connection, found: Figures) -> None:
    hosts = [
        row["id"]
        for row in await connection.fetch("SELECT id FROM host WHERE level = 0 LIMIT $1", BATCH * ROUNDS)
    ]
    for number in range(ROUNDS):
        batch = hosts[number * BATCH : (number + 1) * BATCH]
        whole = await connection.fetch(
            "SELECT agent_id, name, candidate FROM package_row WHERE agent_id = ANY($1::uuid[])", batch
        )
        columns = [[row[key] for row in whole] for key in ("agent_id", "name", "candidate")]
        figure = f"an unchanged whole inventory, ms per {BATCH} hosts"
        found.add(figure, ROWS, await _timed(connection, ROW_DIFF, *columns, batch))
        found.add(figure, SETS, await _timed(connection, SET_LOOK, batch))
        found.add(
            f"unchanged, by digest, ms per {BATCH} hosts", ROWS, await _timed(connection, SET_LOOK, batch)
        )
        found.add(
            f"unchanged, by digest, ms per {BATCH} hosts", SETS, await _timed(connection, SET_LOOK, batch)
        )
        changed = [row for row in whole if row["name"][-1] in "05"]
        parts = [[row["agent_id"] for row in changed], [row["name"] for row in changed]]
        figure = f"changed ({len(changed) // BATCH} of {UPDATES} updates), ms per {BATCH} hosts"
        found.add(figure, ROWS, await _timed(connection, ROW_WRITE, *parts, [f"9.{number}"] * len(changed)))
        new = await _timed(connection, SET_NEW, 1000 + number)
        found.add(figure, SETS, new + await _timed(connection, SET_MOVE, batch, 1000 + number))


async def measure() -> Figures:
    """Seed both shapes and measure them in turn."""
    hosts = HOSTS
    found = Figures(
        "inventory_shape",
        "rows per host beside shared sets of updates",
        (ROWS, SETS, ALONE),
        {"hosts": hosts, "updates of each": UPDATES, "levels": LEVELS},
    )
    with running_postgres() as server:
        connection: Connection = await asyncpg.connect(server.url("postgres"))  # type: ignore[no-untyped-call]  # ships no types
        try:
            await _seed(connection, hosts)
            for shape, tables in SIZES.items():
                for table in tables:
                    size = await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", table)
                    found.add(f"size of {table}, MB", shape, size / 1e6)
            for shape, tables in SIZES.items():
                total = [found.median(f"size of {table}, MB", shape) or 0.0 for table in tables]
                found.add("size in all, MB", shape, sum(total))
            found.add("distinct sets", SETS, LEVELS)
            lone = await connection.fetchval("SELECT count(DISTINCT set_id) FROM lone_set_item")
            owners = await connection.fetchval("SELECT count(*) FROM lone_set_item")
            found.add("distinct sets", ALONE, LEVELS + max(lone, owners / UPDATES))
            await _reads(connection, found)
            await _ingest(connection, found)
        finally:
            await connection.close()
    return found
