"""What the wider life of commands needs: jobs, rate limits, retries, cancelling, and the end of what is old."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

# Old rows are removed by functions that run with the owner's rights: no program may delete records by itself, and
# none can make RedFlag forget what is younger than a day (reports: a week), whatever it asks for.
PRUNE_COMMANDS = """
CREATE FUNCTION redflag_prune_commands(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old uuid[];
BEGIN
    IF before > now() - interval '1 day' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'commands are kept for a day at least and removed 10000 at a time at most';
    END IF;
    SELECT array_agg(id) INTO old FROM (
        SELECT id FROM command WHERE finished_at < before
        AND state IN ('succeeded', 'failed', 'cancelled', 'expired', 'rejected', 'parked', 'unknown')
        ORDER BY finished_at LIMIT most FOR UPDATE SKIP LOCKED
    ) AS ended;
    IF old IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE command SET retry_of = NULL WHERE retry_of = ANY (old);
    UPDATE command SET prev = NULL WHERE prev = ANY (old);
    UPDATE package_state SET command_id = NULL WHERE command_id = ANY (old);
    UPDATE update_history SET command_id = NULL WHERE command_id = ANY (old);
    DELETE FROM update_plan WHERE command_id = ANY (old);
    DELETE FROM outbox WHERE command_id = ANY (old);
    DELETE FROM signing_log WHERE command_id = ANY (old);
    DELETE FROM command_event WHERE command_id = ANY (old);
    DELETE FROM command WHERE id = ANY (old);
    RETURN cardinality(old);
END
$$
"""

# The newest report of each of a host's two keys stays for ever: the next one's `prev` is held against it. What lies
# above the contiguous number stays too, because the count is not closed yet.
PRUNE_REPORTS = """
CREATE FUNCTION redflag_prune_reports(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    removed integer;
BEGIN
    IF before > now() - interval '7 days' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'reports are kept for a week at least and removed 10000 at a time at most';
    END IF;
    DELETE FROM report_inbox WHERE report_id IN (
        SELECT r.report_id FROM report_inbox r JOIN agent a ON a.id = r.agent_id
        WHERE r.received_at < before AND r.rseq <= a.last_rseq AND EXISTS (
            SELECT FROM report_inbox n WHERE n.agent_id = r.agent_id AND n.rseq > r.rseq
            AND n.rseq <= a.last_rseq AND (n.kind = 'command') = (r.kind = 'command')
        )
        ORDER BY r.received_at LIMIT most FOR UPDATE OF r SKIP LOCKED
    );
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$
"""

# An event that happens again is counted in its row (`last_at`, migration 0009); it is as old as its last time.
PRUNE_EVENTS = """
CREATE FUNCTION redflag_prune_system_events(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    removed integer;
BEGIN
    IF before > now() - interval '1 day' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'events are kept for a day at least and removed 10000 at a time at most';
    END IF;
    DELETE FROM system_event WHERE id IN (
        SELECT id FROM system_event WHERE at < before AND coalesce(last_at, at) < before
        ORDER BY at LIMIT most FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$
"""

PRUNE_JOBS = """
CREATE FUNCTION redflag_prune_jobs(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    removed integer;
BEGIN
    IF before > now() - interval '1 day' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'jobs are kept for a day at least and 10000 of their lines removed at a time at most';
    END IF;
    DELETE FROM job_item WHERE (job_id, position) IN (
        SELECT i.job_id, i.position FROM job j JOIN job_item i ON i.job_id = j.id
        WHERE j.finished_at < before ORDER BY j.finished_at LIMIT most
    );
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed < most THEN
        DELETE FROM job j WHERE j.finished_at < before
        AND NOT EXISTS (SELECT FROM job_item i WHERE i.job_id = j.id);
    END IF;
    RETURN removed;
END
$$
"""

# A month is removed whole when its last moment is before; the default partition is never touched.
PRUNE_UPDATE_EVENTS = """
CREATE FUNCTION redflag_prune_update_events(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part text;
    removed integer := 0;
BEGIN
    IF before > now() - interval '28 days' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'events of updates are kept for four weeks at least';
    END IF;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'update_event'::regclass AND c.relname ~ '^update_event_[0-9]{4}_[0-9]{2}$'
        AND (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= before
        ORDER BY c.relname LIMIT most
    LOOP
        EXECUTE format('DROP TABLE %I', part);
        removed := removed + 1;
    END LOOP;
    RETURN removed;
END
$$
"""

PRUNE_IDEMPOTENCY = """
CREATE FUNCTION redflag_prune_idempotency_keys(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    removed integer;
BEGIN
    IF before > now() - interval '1 hour' OR coalesce(most, 0) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'answers are kept for an hour at least and removed 10000 at a time at most';
    END IF;
    DELETE FROM idempotency_key WHERE (operator, key) IN (
        SELECT operator, key FROM idempotency_key WHERE created_at < before
        ORDER BY created_at LIMIT most FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$
"""

PRUNERS = {
    "redflag_prune_idempotency_keys": PRUNE_IDEMPOTENCY,
    "redflag_prune_update_events": PRUNE_UPDATE_EVENTS,
    "redflag_prune_commands": PRUNE_COMMANDS,
    "redflag_prune_reports": PRUNE_REPORTS,
    "redflag_prune_system_events": PRUNE_EVENTS,
    "redflag_prune_jobs": PRUNE_JOBS,
}

GRANTS = (
    "SELECT, INSERT, UPDATE ON agent_rate TO redflag_dispatcher, redflag_dashboard",
    "SELECT, INSERT, UPDATE ON fleet_rate TO redflag_dispatcher",
    "SELECT ON job, job_item TO redflag_dispatcher, redflag_dashboard",
    # Which command an item became is the dispatcher's word: the end of a job covers the cancels of those commands.
    (
        "INSERT (id, op, verb, kind, params, dedupe_key, requested_by, requested_at, total, left_out) "
        "ON job TO redflag_dashboard"
    ),
    (
        "INSERT (job_id, position, agent_id, intent_id, params, dedupe_key, due_at) ON job_item "
        "TO redflag_dashboard"
    ),
    # A dashboard asks for the end of a job; what became of its items is the dispatcher's to say.
    "UPDATE (state, cancelled_by, cancelled_at, cancel_intent_id) ON job TO redflag_dashboard",
    "UPDATE ON job, job_item TO redflag_dispatcher",
    "INSERT (retry_depth) ON command TO redflag_dashboard",
)


def upgrade() -> None:
    _command()
    _outbox()
    _jobs()
    op.create_table(
        "agent_rate",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("tat", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_agent_rate_agent_id_agent")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agent_rate")),
    )
    op.create_table(
        "fleet_rate",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tat", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_fleet_rate")),
    )
    for grant in GRANTS:
        op.execute(f"GRANT {grant}")
    for name, body in PRUNERS.items():
        op.execute(body)
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name}(timestamptz, integer) FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name}(timestamptz, integer) TO redflag_dispatcher")


def _command() -> None:
    op.add_column(
        "command", sa.Column("retry_depth", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("command", sa.Column("max_runtime_s", sa.Integer(), nullable=True))
    op.add_column("command", sa.Column("last_delivery_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.drop_constraint(op.f("ck_command_signed_has_envelope"), "command")
    op.create_check_constraint(
        op.f("ck_command_signed_has_envelope"),
        "command",
        "envelope IS NOT NULL OR state IN ('requested', 'cancelled', 'expired') "
        "OR (kind = 'cancel' AND state IN ('succeeded', 'failed'))",
    )
    op.drop_index("ix_command_requested", table_name="command")
    op.create_index(
        "ix_command_requested",
        "command",
        ["kind", "source", "id"],
        postgresql_where=sa.text("state = 'requested'"),
    )
    op.drop_index("ix_command_retry_of", table_name="command")
    op.create_index(
        "uq_command_retry_of",
        "command",
        ["retry_of"],
        unique=True,
        postgresql_where=sa.text("retry_of IS NOT NULL"),
    )
    op.create_index("ix_command_prev", "command", ["prev"], postgresql_where=sa.text("prev IS NOT NULL"))
    op.create_index(
        "ix_command_begun",
        "command",
        ["started_at"],
        postgresql_where=sa.text("state IN ('running', 'cancelling')"),
    )
    op.create_index(
        "ix_command_handed_out",
        "command",
        ["last_delivery_at"],
        postgresql_where=sa.text("state = 'queued' AND last_delivery_at IS NOT NULL"),
    )
    op.create_index(
        "ix_command_finished_at",
        "command",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def _outbox() -> None:
    op.add_column(
        "outbox", sa.Column("urgent", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.drop_index("ix_outbox_due", table_name="outbox")
    op.create_index(
        "ix_outbox_due",
        "outbox",
        [sa.literal_column("urgent DESC"), "due_at"],
        postgresql_where=sa.text("published_at IS NULL"),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("op", sa.Uuid(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("left_out", postgresql.JSONB(), nullable=True),
        sa.Column("made", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ends", postgresql.JSONB(), nullable=True),
        sa.Column("cancelled_by", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancel_intent_id", sa.Uuid(), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("made + refused <= total", name=op.f("ck_job_counts")),
        sa.CheckConstraint(
            "state IN ('running', 'cancelling', 'finished', 'cancelled')", name=op.f("ck_job_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('cancelling', 'cancelled') OR (cancel_intent_id IS NOT NULL AND cancelled_by IS NOT NULL)",
            name=op.f("ck_job_end_has_intent"),
        ),
        sa.ForeignKeyConstraint(
            ["cancel_intent_id"], ["intent.id"], name=op.f("fk_job_cancel_intent_id_intent")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index(
        "ix_job_recent",
        "job",
        [sa.literal_column("requested_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_job_open", "job", ["id"], postgresql_where=sa.text("state IN ('running', 'cancelling')")
    )
    op.create_index(
        "ix_job_finished_at", "job", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_table(
        "job_item",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("params", postgresql.JSONB(), nullable=True),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("existing_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancel_id", sa.Uuid(), nullable=True),
        sa.Column("cancel_code", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state <> 'made' OR command_id IS NOT NULL", name=op.f("ck_job_item_made_has_command")
        ),
        sa.CheckConstraint(
            "state <> 'refused' OR code IS NOT NULL", name=op.f("ck_job_item_refused_has_code")
        ),
        sa.CheckConstraint("state IN ('waiting', 'made', 'refused')", name=op.f("ck_job_item_state")),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_job_item_agent_id_agent")),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_job_item_intent_id_intent")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_item_job_id_job")),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_item")),
    )
    op.create_index(
        "ix_job_item_waiting",
        "job_item",
        ["due_at", "job_id", "position"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_job_item_state", "job_item", ["job_id", "state", "position"])
    op.create_index(
        "ix_job_item_command_id",
        "job_item",
        ["command_id"],
        postgresql_where=sa.text("command_id IS NOT NULL"),
    )
