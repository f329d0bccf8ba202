"""Groups, the figures of hosts and their volumes, and events that say how often they happened."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

TIME = sa.TIMESTAMP(timezone=True)

# As the one of update_event (0004): runs with the owner's rights, and moves what the default partition caught.
ENSURE_WEEKS = """
CREATE FUNCTION redflag_ensure_host_metric_weeks(first date, weeks integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    week timestamp;
    lower_bound timestamptz;
    upper_bound timestamptz;
    part text;
    made integer := 0;
BEGIN
    IF weeks NOT BETWEEN 1 AND 12 THEN
        RAISE EXCEPTION 'weeks must be 1 to 12, not %', weeks;
    END IF;
    IF abs(first - CAST(now() AT TIME ZONE 'UTC' AS date)) > 62 THEN
        RAISE EXCEPTION 'the first week must lie within two months of today, not %', first;
    END IF;
    PERFORM pg_advisory_xact_lock(1380339022);
    FOR i IN 0 .. weeks - 1 LOOP
        week := date_trunc('week', first::timestamp) + make_interval(weeks => i);
        part := 'host_metric_' || to_char(week, 'YYYY_MM_DD');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        lower_bound := week AT TIME ZONE 'UTC';
        upper_bound := (week + interval '1 week') AT TIME ZONE 'UTC';
        LOCK TABLE host_metric_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE host_metric INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM host_metric_default WHERE at >= %L AND at < %L RETURNING *) '
            'INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, part);
        EXECUTE format(
            'ALTER TABLE host_metric ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            part, lower_bound, upper_bound);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$
"""

# Drops whole weeks that ended before a time; the last day's figures cannot be dropped by anybody.
DROP_WEEKS = """
CREATE FUNCTION redflag_drop_host_metric_weeks(ended_before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part text;
    dropped integer := 0;
BEGIN
    IF ended_before IS NULL OR ended_before > now() - interval '20 hours' THEN
        RAISE EXCEPTION 'figures of the last day stay, not only those before %', ended_before;
    END IF;
    PERFORM pg_advisory_xact_lock(1380339022);
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'host_metric'::regclass AND c.relname ~ '^host_metric_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
        ORDER BY c.relname
    LOOP
        CONTINUE WHEN (to_date(right(part, 10), 'YYYY_MM_DD') + 7)::timestamp AT TIME ZONE 'UTC' > ended_before;
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM host_metric_default WHERE at < ended_before;
    RETURN dropped;
END
$$
"""

DISPATCHER = (
    "SELECT ON agent_group, agent_group_member, host_system, host_storage, storage_volume, host_metric",
    "INSERT, UPDATE ON host_system, host_storage, storage_volume, host_metric",
    "DELETE ON storage_volume",
    # The same thing again counts on the row of the first time.
    "UPDATE (count, last_at, data) ON system_event",
    "EXECUTE ON FUNCTION redflag_ensure_host_metric_weeks(date, integer)",
    "EXECUTE ON FUNCTION redflag_drop_host_metric_weeks(timestamptz)",
)
DASHBOARD = (
    "SELECT ON agent_group, agent_group_member, host_system, host_storage, storage_volume, host_metric",
    "INSERT, DELETE ON agent_group, agent_group_member",
    "UPDATE (name, description) ON agent_group",
    "UPDATE (parent_id) ON agent",
)


def upgrade() -> None:
    _groups()
    _figures()
    op.create_index("ix_agent_hostname_lower", "agent", [sa.text("lower(hostname)")])
    op.create_index("ix_agent_tags", "agent", ["tags"], postgresql_using="gin")
    op.add_column(
        "system_event", sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column("system_event", sa.Column("last_at", TIME, nullable=True))
    op.add_column("system_event", sa.Column("fold", sa.Text(), nullable=True))
    op.create_index(
        "uq_system_event_fold", "system_event", ["fold"], unique=True,
        postgresql_where=sa.text("fold IS NOT NULL"),
    )  # fmt: skip
    op.create_index("ix_system_event_code", "system_event", ["code", sa.text("at DESC")])
    op.execute("CREATE TABLE host_metric_default PARTITION OF host_metric DEFAULT")
    for function in (ENSURE_WEEKS, DROP_WEEKS):
        op.execute(function)
    op.execute("REVOKE EXECUTE ON FUNCTION redflag_ensure_host_metric_weeks(date, integer) FROM PUBLIC")
    op.execute("REVOKE EXECUTE ON FUNCTION redflag_drop_host_metric_weeks(timestamptz) FROM PUBLIC")
    op.execute("SELECT redflag_ensure_host_metric_weeks(CAST(now() AT TIME ZONE 'UTC' AS date) - 7, 5)")
    for grant in DISPATCHER:
        op.execute(f"GRANT {grant} TO redflag_dispatcher")
    for grant in DASHBOARD:
        op.execute(f"GRANT {grant} TO redflag_dashboard")


def _groups() -> None:
    op.create_table(
        "agent_group",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_group")),
    )
    op.create_index("uq_agent_group_name", "agent_group", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "agent_group_member",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agent.id"], name=op.f("fk_agent_group_member_agent_id_agent")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["agent_group.id"], name=op.f("fk_agent_group_member_group_id_agent_group"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("group_id", "agent_id", name=op.f("pk_agent_group_member")),
    )  # fmt: skip
    op.create_index(op.f("ix_agent_group_member_agent_id"), "agent_group_member", ["agent_id"], unique=False)
    # Defaults of subsystems came before groups.
    op.create_foreign_key(
        op.f("fk_subsystem_default_group_id_agent_group"), "subsystem_default", "agent_group",
        ["group_id"], ["id"], ondelete="CASCADE",
    )  # fmt: skip


def _big(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=True) for name in names]


def _list(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False)


def _figures() -> None:
    op.create_table(
        "host_system",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("collected_at", TIME, nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        *_big("uptime_s", "cpu_count"),
        sa.Column("cpu_model", sa.Text(), nullable=False),
        *_big(
            "load1_milli", "load5_milli", "load15_milli", "memory_total_bytes", "memory_available_bytes",
            "swap_total_bytes", "swap_free_bytes", "processes_total", "processes_running", "processes_zombie",
        ),
        _list("top_processes"),
        sa.Column("kernel_running", sa.Text(), nullable=False),
        sa.Column("kernel_installed", sa.Text(), nullable=True),
        sa.Column("virtualization", sa.Text(), nullable=True),
        sa.Column("reboot_required", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _list("reboot_reasons"),
        sa.Column("services_to_restart", postgresql.JSONB(), nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_host_system_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_host_system")),
    )  # fmt: skip
    op.create_table(
        "host_storage",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("collected_at", TIME, nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        _list("disks"),
        _list("problems"),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_host_storage_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_host_storage")),
    )
    zero = sa.text("0")
    op.create_table(
        "storage_volume",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("mount", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("fstype", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=zero, nullable=False)
            for name in ("total_bytes", "used_bytes", "available_bytes")
        ),
        *_big("inodes_total", "inodes_used"),
        sa.Column("read_only", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_storage_volume_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", "mount", name=op.f("pk_storage_volume")),
    )
    op.create_table(
        "host_metric",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        *_big(
            "load1_milli", "memory_total_bytes", "memory_available_bytes", "swap_total_bytes", "swap_free_bytes",
            "processes_total",
        ),
        sa.Column("fullest_mount", sa.Text(), nullable=True),
        sa.Column("fullest_percent", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_host_metric_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", "at", name=op.f("pk_host_metric")),
        postgresql_partition_by="RANGE (at)",
    )  # fmt: skip
