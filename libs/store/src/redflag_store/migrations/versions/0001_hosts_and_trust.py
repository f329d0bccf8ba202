"""Hosts, enrolment, keys, intents and API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_key_prefix")),
    )
    op.create_table(
        "enrollment_token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("pub", sa.LargeBinary(), nullable=False),
        sa.Column("max_seats", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("tags", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("auto_approve", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("max_seats >= 1", name=op.f("ck_enrollment_token_max_seats")),
        sa.CheckConstraint("octet_length(pub) = 32", name=op.f("ck_enrollment_token_pub_length")),
        sa.CheckConstraint("used >= 0 AND used <= max_seats", name=op.f("ck_enrollment_token_used")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrollment_token")),
    )
    op.create_index(
        "ix_enrollment_token_created_at_id", "enrollment_token", ["created_at", "id"], unique=False
    )
    op.create_table(
        "idempotency_key",
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("response", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("operator", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "intent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
    )
    op.create_index("ix_intent_at_id", "intent", ["at", "id"], unique=False)
    op.create_index(op.f("ix_intent_correlation_id"), "intent", ["correlation_id"], unique=False)
    op.create_table(
        "key_manifest",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_key_manifest_version")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_key_manifest")),
    )
    op.create_table(
        "agent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("akt", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("os_id", sa.Text(), nullable=True),
        sa.Column("os_name", sa.Text(), nullable=True),
        sa.Column("os_version", sa.Text(), nullable=True),
        sa.Column("arch", sa.Text(), nullable=True),
        sa.Column("kernel", sa.Text(), nullable=True),
        sa.Column("agent_version", sa.Text(), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("capabilities", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("tags", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_report_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_rseq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("seq_floor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reboot_required", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("inventory_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("inventory_source_age_s", sa.BigInteger(), nullable=True),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('active', 'pending', 'revoked', 'quarantined')", name=op.f("ck_agent_state")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["agent.id"], name=op.f("fk_agent_parent_id_agent")),
        sa.ForeignKeyConstraint(
            ["token_id"], ["enrollment_token.id"], name=op.f("fk_agent_token_id_enrollment_token")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent")),
        sa.UniqueConstraint("akt", name=op.f("uq_agent_akt")),
    )
    op.create_index("ix_agent_hostname_id", "agent", ["hostname", "id"], unique=False)
    op.create_index(
        "ix_agent_parent_id",
        "agent",
        ["parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_table(
        "access_generation",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("gen", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('issued', 'current', 'ended')", name=op.f("ck_access_generation_state")
        ),
        sa.CheckConstraint("gen >= 1", name=op.f("ck_access_generation_gen")),
        sa.CheckConstraint(
            "octet_length(secret_sha256) = 32", name=op.f("ck_access_generation_secret_length")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_access_generation_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", "gen", name=op.f("pk_access_generation")),
    )
    op.create_index(
        "uq_access_generation_current",
        "access_generation",
        ["agent_id"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_index(
        "uq_access_generation_issued",
        "access_generation",
        ["agent_id"],
        unique=True,
        postgresql_where=sa.text("state = 'issued'"),
    )
    op.create_table(
        "agent_key",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("thumbprint", sa.Text(), nullable=False),
        sa.Column("pub", sa.LargeBinary(), nullable=False),
        sa.Column("keyid", sa.Text(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("retired_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('agent', 'receipt')", name=op.f("ck_agent_key_role")),
        sa.CheckConstraint("octet_length(pub) = 32", name=op.f("ck_agent_key_pub_length")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_agent_key_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", "role", "thumbprint", name=op.f("pk_agent_key")),
        sa.UniqueConstraint("thumbprint", name=op.f("uq_agent_key_thumbprint")),
    )
    op.create_index(
        "uq_agent_key_in_use",
        "agent_key",
        ["agent_id", "role"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "enrolment",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("agent_pub", sa.LargeBinary(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(agent_pub) = 32", name=op.f("ck_enrolment_agent_pub_length")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_enrolment_agent_id_agent")),
        sa.ForeignKeyConstraint(
            ["token_id"], ["enrollment_token.id"], name=op.f("fk_enrolment_token_id_enrollment_token")
        ),
        sa.PrimaryKeyConstraint("token_id", "agent_pub", name=op.f("pk_enrolment")),
    )
    op.create_index(op.f("ix_enrolment_agent_id"), "enrolment", ["agent_id"], unique=False)
