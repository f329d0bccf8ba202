"""Subsystems of hosts, their defaults, and fast mode."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TIME = sa.TIMESTAMP(timezone=True)

VALUES = (
    ("enabled", sa.Boolean()),
    ("auto_run", sa.Boolean()),
    ("interval_s", sa.Integer()),
    ("timeout_s", sa.Integer()),
    ("breaker_failures", sa.Integer()),
    ("breaker_window_s", sa.Integer()),
    ("breaker_open_s", sa.Integer()),
    ("breaker_half_open", sa.Integer()),
)


def _values() -> list[sa.Column[object]]:
    return [sa.Column(name, kind, nullable=True) for name, kind in VALUES]


def upgrade() -> None:
    op.create_table(
        "subsystem",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("present", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        *_values(),
        sa.Column("changed_at", _TIME, nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("planned_rev", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("plan_interval_s", sa.Integer(), nullable=False),
        sa.Column("plan_timeout_s", sa.Integer(), nullable=False),
        sa.Column("due_at", _TIME, nullable=True),
        sa.Column("next_run_at", _TIME, nullable=True),
        sa.Column("held_until", _TIME, nullable=True),
        sa.Column("held_for", sa.Text(), nullable=True),
        sa.Column("asleep", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("last_command_id", sa.Uuid(), nullable=True),
        sa.Column("last_made_at", _TIME, nullable=True),
        sa.Column("last_run_at", _TIME, nullable=True),
        sa.Column("last_result", sa.Text(), nullable=True),
        sa.Column("last_code", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "name", name=op.f("pk_subsystem")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_subsystem_agent_id_agent")),
        sa.CheckConstraint("interval_s BETWEEN 60 AND 86400", name=op.f("ck_subsystem_interval_s")),
        sa.CheckConstraint("timeout_s BETWEEN 10 AND 86400", name=op.f("ck_subsystem_timeout_s")),
    )
    op.create_index(
        "ix_subsystem_due",
        "subsystem",
        [sa.text("GREATEST(next_run_at, held_until)")],
        postgresql_where=sa.text("next_run_at IS NOT NULL AND NOT asleep"),
    )
    op.create_index("ix_subsystem_asleep", "subsystem", ["agent_id"], postgresql_where=sa.text("asleep"))
    op.create_index("ix_subsystem_planned_rev", "subsystem", ["planned_rev"])
    op.create_table(
        "subsystem_default",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("100"), nullable=False),
        *_values(),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsystem_default")),
        sa.CheckConstraint("interval_s BETWEEN 60 AND 86400", name=op.f("ck_subsystem_default_interval_s")),
        sa.CheckConstraint("timeout_s BETWEEN 10 AND 86400", name=op.f("ck_subsystem_default_timeout_s")),
        sa.CheckConstraint("priority BETWEEN 0 AND 1000", name=op.f("ck_subsystem_default_priority")),
    )
    op.create_index(
        "uq_subsystem_default_fleet",
        "subsystem_default",
        ["name"],
        unique=True,
        postgresql_where=sa.text("group_id IS NULL"),
    )
    op.create_index(
        "uq_subsystem_default_group",
        "subsystem_default",
        ["group_id", "name"],
        unique=True,
        postgresql_where=sa.text("group_id IS NOT NULL"),
    )
    op.create_table(
        "subsystem_revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsystem_revision")),
        sa.CheckConstraint("id = 1", name=op.f("ck_subsystem_revision_one_row")),
    )
    op.execute("INSERT INTO subsystem_revision (id) VALUES (1)")

    op.add_column("agent", sa.Column("fast_until", _TIME, nullable=True))
    op.add_column(
        "agent", sa.Column("fast_forever", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("agent", sa.Column("subsystems_mark", sa.Text(), nullable=True))
    op.create_index(
        "ix_agent_fast",
        "agent",
        ["fast_until"],
        postgresql_where=sa.text("fast_forever OR fast_until IS NOT NULL"),
    )
    # What of a host decides which subsystems it has and whether they run: whoever changes it, the row is found here.
    op.create_index(
        "ix_agent_subsystems_stale",
        "agent",
        ["id"],
        postgresql_where=sa.text(
            "subsystems_mark IS DISTINCT FROM "
            "md5(state || ' ' || coalesce(agent_version, '') || ' ' || capabilities::text)"
        ),
    )

    values = ", ".join(name for name, _ in VALUES)
    op.execute(
        "GRANT SELECT ON subsystem, subsystem_default, subsystem_revision TO redflag_dispatcher, redflag_dashboard"
    )
    op.execute("GRANT INSERT, UPDATE ON subsystem TO redflag_dispatcher")
    op.execute(
        f"GRANT UPDATE ({values}, changed_at, changed_by, planned_rev) ON subsystem TO redflag_dashboard"
    )
    op.execute("GRANT INSERT, UPDATE, DELETE ON subsystem_default TO redflag_dashboard")
    op.execute("GRANT UPDATE (revision) ON subsystem_revision TO redflag_dashboard")
