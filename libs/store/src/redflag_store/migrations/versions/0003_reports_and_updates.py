"""Reports, available updates, plans, approvals, history and system events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("lapsed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_approval_agent_id_agent")),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_approval_intent_id_intent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index(op.f("ix_approval_intent_id"), "approval", ["intent_id"], unique=False)
    op.create_index(
        "uq_approval_in_force",
        "approval",
        ["agent_id", "manager", "name", "arch", "version"],
        unique=True,
        postgresql_where=sa.text("lapsed_at IS NULL"),
    )
    op.create_table(
        "report_inbox",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("rseq", sa.BigInteger(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cmd", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("received_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("state IN ('received', 'started', 'done')", name=op.f("ck_report_inbox_state")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_report_inbox_agent_id_agent")),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_report_inbox")),
        sa.UniqueConstraint("agent_id", "rseq", name=op.f("uq_report_inbox_agent_id_rseq")),
    )
    op.create_index(
        "ix_report_inbox_cmd",
        "report_inbox",
        ["cmd"],
        unique=False,
        postgresql_where=sa.text("cmd IS NOT NULL"),
    )
    op.create_index("ix_report_inbox_received_at", "report_inbox", ["received_at"], unique=False)
    op.create_table(
        "system_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint(
            "severity IN ('debug', 'info', 'warning', 'error', 'critical')",
            name=op.f("ck_system_event_severity"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_system_event_agent_id_agent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_system_event")),
    )
    op.create_index(
        "ix_system_event_agent_id",
        "system_event",
        ["agent_id", "at"],
        unique=False,
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_system_event_recent",
        "system_event",
        [sa.literal_column("at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "update_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Text(), nullable=True),
        sa.Column("to_version", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('discovered', 'changed', 'gone', 'approved', 'installed', 'failed')",
            name=op.f("ck_update_event_kind"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_update_event_agent_id_agent")),
        sa.PrimaryKeyConstraint("id", "at", name=op.f("pk_update_event")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_update_event_agent_id_at", "update_event", ["agent_id", "at"], unique=False)
    op.create_table(
        "package_state",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("installed", sa.Text(), nullable=True),
        sa.Column("candidate", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("suite", sa.Text(), nullable=True),
        sa.Column("security", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("availability", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("approved_version", sa.Text(), nullable=True),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("first_seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "availability IN ('available', 'held', 'kept_back', 'phased')",
            name=op.f("ck_package_state_availability"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'rejected', 'checking_dependencies', 'pending_dependencies', "
            "'installing', 'updated', 'failed', 'ignored', 'held')",
            name=op.f("ck_package_state_state"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_package_state_agent_id_agent")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name=op.f("fk_package_state_command_id_command")
        ),
        sa.PrimaryKeyConstraint("agent_id", "manager", "name", "arch", name=op.f("pk_package_state")),
    )
    op.create_index(
        "ix_package_state_command_id",
        "package_state",
        ["command_id"],
        unique=False,
        postgresql_where=sa.text("command_id IS NOT NULL"),
    )
    op.create_index("ix_package_state_name", "package_state", ["name", "manager", "candidate"], unique=False)
    op.create_index("ix_package_state_state", "package_state", ["state", "agent_id"], unique=False)
    op.create_table(
        "update_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("old_version", sa.Text(), nullable=True),
        sa.Column("new_version", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("agent_started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("agent_finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("stored_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_update_history_agent_id_agent")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name=op.f("fk_update_history_command_id_command")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_update_history")),
    )
    op.create_index(
        "ix_update_history_agent_recent",
        "update_history",
        ["agent_id", sa.literal_column("stored_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("ix_update_history_command_id"), "update_history", ["command_id"], unique=False)
    op.create_index(
        "ix_update_history_recent",
        "update_history",
        [sa.literal_column("stored_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "update_plan",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("manager", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
        sa.Column("request", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("item_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("extra_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("removes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("confirm_intent_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_update_plan_agent_id_agent")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name=op.f("fk_update_plan_command_id_command")
        ),
        sa.ForeignKeyConstraint(
            ["confirm_intent_id"], ["intent.id"], name=op.f("fk_update_plan_confirm_intent_id_intent")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_update_plan")),
    )
    op.create_index("ix_update_plan_agent_digest", "update_plan", ["agent_id", "digest"], unique=False)
    op.create_index(
        "ix_update_plan_agent_recent",
        "update_plan",
        ["agent_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("ix_update_plan_command_id"), "update_plan", ["command_id"], unique=False)
