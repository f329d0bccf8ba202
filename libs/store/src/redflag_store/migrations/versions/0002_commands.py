"""Commands, their moves, the outbox and the signing log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "command",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("op", sa.Uuid(), nullable=True),
        sa.Column("wave", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'requested'"), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), server_default=sa.text("'manual'"), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("retry_of", sa.Uuid(), nullable=True),
        sa.Column("prev", sa.Uuid(), nullable=True),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("envelope", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("signed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("queued_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("agent_started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("agent_finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("nbf", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("exp", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("deliveries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("plan_digest", sa.Text(), nullable=True),
        sa.Column("summary", postgresql.JSONB(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("stdout", sa.Text(), nullable=True),
        sa.Column("stderr", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "source = 'system' OR intent_id IS NOT NULL", name=op.f("ck_command_manual_has_intent")
        ),
        sa.CheckConstraint("source IN ('manual', 'system')", name=op.f("ck_command_source")),
        sa.CheckConstraint(
            "state IN ('requested', 'cancelled') OR envelope IS NOT NULL",
            name=op.f("ck_command_signed_has_envelope"),
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'signed', 'queued', 'delivered', 'running', 'cancelling', "
            "'succeeded', 'failed', 'cancelled', 'expired', 'rejected', 'parked', 'unknown')",
            name=op.f("ck_command_state"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_command_agent_id_agent")),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_command_intent_id_intent")),
        sa.ForeignKeyConstraint(["prev"], ["command.id"], name=op.f("fk_command_prev_command")),
        sa.ForeignKeyConstraint(["retry_of"], ["command.id"], name=op.f("fk_command_retry_of_command")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command")),
        sa.UniqueConstraint("agent_id", "seq", name=op.f("uq_command_agent_id_seq")),
    )
    op.create_index(
        "ix_command_agent_recent",
        "command",
        ["agent_id", sa.literal_column("requested_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_command_exp",
        "command",
        ["exp"],
        unique=False,
        postgresql_where=sa.text(
            "state NOT IN ('cancelled', 'expired', 'failed', 'parked', 'rejected', 'succeeded', 'unknown')"
        ),
    )
    op.create_index(op.f("ix_command_intent_id"), "command", ["intent_id"], unique=False)
    op.create_index(
        "ix_command_op", "command", ["op"], unique=False, postgresql_where=sa.text("op IS NOT NULL")
    )
    op.create_index(
        "ix_command_pending",
        "command",
        ["agent_id", "state"],
        unique=False,
        postgresql_where=sa.text(
            "state NOT IN ('cancelled', 'expired', 'failed', 'parked', 'rejected', 'succeeded', 'unknown')"
        ),
    )
    op.create_index(
        "ix_command_recent",
        "command",
        [sa.literal_column("requested_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_command_requested",
        "command",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'requested'"),
    )
    op.create_index(
        "ix_command_retry_of",
        "command",
        ["retry_of"],
        unique=False,
        postgresql_where=sa.text("retry_of IS NOT NULL"),
    )
    op.create_index(
        "uq_command_dedupe",
        "command",
        ["agent_id", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text(
            "state NOT IN ('cancelled', 'expired', 'failed', 'parked', 'rejected', 'succeeded', 'unknown')"
        ),
    )
    op.create_table(
        "command_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("agent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name=op.f("fk_command_event_command_id_command")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command_event")),
    )
    op.create_index(
        "ix_command_event_command_id_at", "command_event", ["command_id", "at", "id"], unique=False
    )
    op.create_table(
        "outbox",
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("published_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("stream_created_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("stream_seq", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("n >= 1", name=op.f("ck_outbox_n")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_outbox_agent_id_agent")),
        sa.ForeignKeyConstraint(["command_id"], ["command.id"], name=op.f("fk_outbox_command_id_command")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_agent_id"), "outbox", ["agent_id"], unique=False)
    op.create_index(
        "ix_outbox_due", "outbox", ["due_at"], unique=False, postgresql_where=sa.text("published_at IS NULL")
    )
    op.create_index(
        "ix_outbox_published",
        "outbox",
        ["published_at"],
        unique=False,
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )
    op.create_table(
        "signing_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("keyid", sa.Text(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_signing_log_agent_id_agent")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name=op.f("fk_signing_log_command_id_command")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_log")),
        sa.UniqueConstraint("command_id", name=op.f("uq_signing_log_command_id")),
    )
    op.create_index("ix_signing_log_agent_id_at", "signing_log", ["agent_id", "at"], unique=False)
