"""What is known of an update beyond its version, inventories by digest, and counters that spare lists a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

DISPATCHER = "redflag_dispatcher"
DASHBOARD = "redflag_dashboard"

# Counters are appended to, never changed in place: no statement waits for another's lock on a counter. The triggers
# run with the owner's rights, so that no program can write a counter but by changing what is counted.
_COUNTED = "manager, name, arch, state, security, severity, availability"
_OPEN = "state NOT IN ('updated', 'rejected', 'ignored')"


_OF_A_HOST = {
    "open": _OPEN,
    "security": f"{_OPEN} AND security",
    "approved": f"{_OPEN} AND approved_version = candidate",
    "failed": "state = 'failed'",
    "held_back": f"{_OPEN} AND availability <> 'available'",
}


def _sums(sign: str) -> str:
    return ", ".join(
        f"coalesce(sum({sign}) FILTER (WHERE {where}), 0) AS {name}" for name, where in _OF_A_HOST.items()
    )


def _parts(operation: str) -> str:
    new, old = "SELECT *, 1 AS sign FROM new_rows", "SELECT *, -1 AS sign FROM old_rows"
    return {"INSERT": new, "DELETE": old, "UPDATE": f"{new} UNION ALL {old}"}[operation]


def _count_updates(operation: str) -> str:
    parts = _parts(operation)
    return f"""
CREATE FUNCTION redflag_count_updates_{operation.lower()}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO update_tally ({_COUNTED}, hosts)
    SELECT {_COUNTED}, sum(sign) FROM ({parts}) c GROUP BY {_COUNTED} HAVING sum(sign) <> 0;
    INSERT INTO agent_update_count AS c (agent_id, open, security, approved, failed, held_back)
    SELECT s.* FROM (
        SELECT agent_id, {_sums("sign")} FROM ({parts}) c GROUP BY agent_id
    ) s
    WHERE (s.open, s.security, s.approved, s.failed, s.held_back) <> (0, 0, 0, 0, 0)
    ORDER BY s.agent_id
    ON CONFLICT (agent_id) DO UPDATE SET open = c.open + EXCLUDED.open, security = c.security + EXCLUDED.security,
        approved = c.approved + EXCLUDED.approved, failed = c.failed + EXCLUDED.failed,
        held_back = c.held_back + EXCLUDED.held_back;
    RETURN NULL;
END
$$
"""  # noqa: S608 - built from the constants above only


def _count_rows(name: str, operation: str, subject: str, *, a: str, b: str, where: str = "true") -> str:
    return f"""
CREATE FUNCTION redflag_count_{name}_{operation.lower()}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO tally (subject, a, b, rows)
    SELECT '{subject}', {a}, {b}, sum(sign) FROM ({_parts(operation)}) c WHERE {where}
    GROUP BY {a}, {b} HAVING sum(sign) <> 0;
    RETURN NULL;
END
$$
"""  # noqa: S608 - built from the constants above only


def _trigger(table: str, name: str, operation: str) -> str:
    tables = {
        "INSERT": "NEW TABLE AS new_rows",
        "DELETE": "OLD TABLE AS old_rows",
        "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    }[operation]
    return (
        f"CREATE TRIGGER redflag_count_{operation.lower()} AFTER {operation} ON {table} REFERENCING {tables} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION redflag_count_{name}_{operation.lower()}()"
    )


# A package waits in these two states for one command; when that ends, however it ends and whoever ends it, the package
# leaves them in the same transaction (docs/updates.md). What a report says of each package is written before.
RELEASE = """
CREATE FUNCTION redflag_release_packages() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE package_state SET changed_at = coalesce(NEW.finished_at, now()), state = CASE
        WHEN state = 'installing' AND NEW.state IN ('failed', 'unknown') THEN 'failed'
        WHEN installed = candidate THEN 'updated'
        WHEN approved_version = candidate THEN 'approved'
        ELSE 'pending' END
    WHERE command_id = NEW.id AND state IN ('installing', 'checking_dependencies');
    RETURN NULL;
END
$$
"""
RELEASE_TRIGGER = """
CREATE TRIGGER redflag_release_packages AFTER UPDATE OF state ON command FOR EACH ROW
WHEN (NEW.kind IN ('dry_run_update', 'install_updates', 'rollback_update') AND OLD.state <> NEW.state
      AND NEW.state IN ('succeeded', 'failed', 'cancelled', 'expired', 'rejected', 'parked', 'unknown'))
EXECUTE FUNCTION redflag_release_packages()
"""

SEED = (
    (
        f"INSERT INTO update_tally ({_COUNTED}, hosts) SELECT {_COUNTED}, count(*) FROM package_state "  # noqa: S608
        f"GROUP BY {_COUNTED}"
    ),
    f"""
    INSERT INTO agent_update_count (agent_id, open, security, approved, failed, held_back)
    SELECT agent_id, {_sums("1")}
    FROM package_state GROUP BY agent_id
    """,  # noqa: S608
    "INSERT INTO tally (subject, a, b, rows) SELECT 'command', state, kind, count(*) FROM command GROUP BY state, kind",
    """
    INSERT INTO tally (subject, a, b, rows)
    SELECT 'event', severity, component, count(*) FROM system_event GROUP BY severity, component
    """,
)  # built from the constants above only; the triggers count `hosts_open` while this runs


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    for column in (
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("trusted", sa.Boolean(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("phased_percent", sa.Integer(), nullable=True),
    ):
        op.add_column("package_state", column)
    op.add_column(
        "update_plan", sa.Column("mode", sa.Text(), server_default=sa.text("'packages'"), nullable=False)
    )
    op.drop_constraint(op.f("ck_package_state_availability"), "package_state")
    op.create_check_constraint(
        op.f("ck_package_state_availability"),
        "package_state",
        "availability IN ('available', 'held', 'kept_back', 'phased', 'pinned')",
    )
    op.create_check_constraint(
        op.f("ck_package_state_severity"),
        "package_state",
        "severity IN ('critical', 'high', 'medium', 'low')",
    )
    op.drop_constraint(op.f("ck_update_event_kind"), "update_event")
    op.create_check_constraint(
        op.f("ck_update_event_kind"),
        "update_event",
        "kind IN ('discovered', 'changed', 'gone', 'approved', 'rejected', 'ignored', 'reset', 'installed', "
        "'failed', 'rolled_back')",
    )
    op.drop_index("ix_package_state_name", "package_state")
    op.drop_index("ix_package_state_state", "package_state")
    op.create_index(
        "ix_package_state_listed",
        "package_state",
        ["name", "manager", "arch", "agent_id"],
        postgresql_where=sa.text("state <> 'updated'"),
    )
    op.create_index(
        "ix_package_state_by_state", "package_state", ["state", "name", "manager", "arch", "agent_id"]
    )
    op.create_index("ix_update_event_package", "update_event", ["agent_id", "name", "at"])
    op.create_index(
        "ix_update_history_package",
        "update_history",
        ["agent_id", "name", sa.literal_column("stored_at DESC"), sa.literal_column("id DESC")],
    )
    newest_first: sa.ColumnElement[str] = sa.literal_column("id DESC")
    op.create_index(
        "ix_command_state_recent", "command", ["state", sa.literal_column("requested_at DESC"), newest_first]
    )
    op.create_index(
        "ix_system_event_severity", "system_event", ["severity", sa.literal_column("at DESC"), newest_first]
    )
    op.create_table(
        "agent_inventory",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("host_digest", sa.Text(), nullable=True),
        sa.Column("refused_rows", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("source_age_s", sa.BigInteger(), nullable=True),
        sa.Column("looked_at", time, nullable=False),
        sa.Column("changed_at", time, nullable=False),
        sa.Column("asked_at", time, nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_agent_inventory_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", "manager", name=op.f("pk_agent_inventory")),
    )
    op.create_table(
        "agent_update_count",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)
            for name in ("open", "security", "approved", "failed", "held_back")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agent.id"], name=op.f("fk_agent_update_count_agent_id_agent")
        ),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agent_update_count")),
    )
    op.create_table(
        "update_tally",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("security", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("availability", sa.Text(), nullable=False),
        sa.Column("hosts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_update_tally")),
    )
    op.create_index("ix_update_tally_package", "update_tally", ["name", "manager", "arch"])
    op.create_table(
        "tally",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("a", sa.Text(), nullable=False),
        sa.Column("b", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tally")),
    )
    _triggers()
    for statement in SEED:
        op.execute(statement)
    op.execute(
        f"GRANT SELECT ON agent_inventory, agent_update_count, update_tally, tally TO {DISPATCHER}, {DASHBOARD}"
    )
    op.execute(f"GRANT INSERT, UPDATE ON agent_inventory TO {DISPATCHER}")
    # Folding entries together and repairing them is the dispatcher's.
    op.execute(f"GRANT INSERT, DELETE ON update_tally, tally TO {DISPATCHER}")
    op.execute(f"GRANT INSERT, UPDATE ON agent_update_count TO {DISPATCHER}")


def _triggers() -> None:
    for operation in ("INSERT", "UPDATE", "DELETE"):
        op.execute(_count_updates(operation))
        op.execute(_trigger("package_state", "updates", operation))
        op.execute(_count_rows("commands", operation, "command", a="state", b="kind"))
        op.execute(_trigger("command", "commands", operation))
        op.execute(
            _count_rows("hosts_open", operation, "hosts_open", a="''::text", b="''::text", where="open > 0")
        )
        op.execute(_trigger("agent_update_count", "hosts_open", operation))
        op.execute(_count_rows("events", operation, "event", a="severity", b="component"))
        op.execute(_trigger("system_event", "events", operation))
    op.execute(RELEASE)
    op.execute(RELEASE_TRIGGER)
    # Whoever may execute them could hang them on a temporary table of their own, and write counters and states.
    counted = [
        f"redflag_count_{name}_{operation}"
        for name in ("updates", "commands", "hosts_open", "events")
        for operation in ("insert", "update", "delete")
    ]
    for function in (*counted, "redflag_release_packages"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC")
