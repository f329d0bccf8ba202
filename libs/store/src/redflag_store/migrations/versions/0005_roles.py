"""The programs' roles and the least they need.

Neither can log in until `redflag_store.roles.set_login` gives it a password. What the grants leave out is the
point: the dispatcher neither creates intents, approvals or tokens nor sees API keys, and cannot change what it
logged; the dashboard can only ask for a command (the columns that make one signed are not its to write, and
`state` and `source` are the table's defaults), and neither sees nor touches what the agents' access rests on.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

DISPATCHER = "redflag_dispatcher"
DASHBOARD = "redflag_dashboard"

# Two databases of one server may be migrated at once, and roles belong to the server.
CREATE_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$
"""

GRANTS = {
    DISPATCHER: [
        (
            "SELECT ON agent, agent_key, access_generation, enrollment_token, enrolment, key_manifest, intent, "
            "command, command_event, outbox, signing_log, report_inbox, package_state, update_event, update_history, "
            "update_plan, approval, system_event, alembic_version"
        ),
        (
            "INSERT ON agent, agent_key, access_generation, enrolment, key_manifest, command, command_event, outbox, "
            "signing_log, report_inbox, package_state, update_event, update_history, update_plan, system_event"
        ),
        "UPDATE ON agent, access_generation, command, outbox, package_state",
        "UPDATE (retired_at) ON agent_key",
        "UPDATE (used) ON enrollment_token",
        "UPDATE (lapsed_at) ON approval",
        "DELETE ON outbox, package_state",
        "EXECUTE ON FUNCTION redflag_ensure_update_event_partitions(date, integer)",
    ],
    DASHBOARD: [
        (
            "SELECT ON agent, enrollment_token, enrolment, key_manifest, intent, command, command_event, signing_log, "
            "report_inbox, package_state, update_event, update_history, update_plan, approval, api_key, system_event, "
            "idempotency_key, alembic_version"
        ),
        "SELECT (agent_id, role, thumbprint, keyid, created_at, retired_at) ON agent_key",
        (
            "INSERT ON enrollment_token, intent, command_event, approval, api_key, update_event, system_event, "
            "idempotency_key"
        ),
        (
            "INSERT (id, agent_id, op, wave, kind, params, intent_id, retry_of, prev, dedupe_key, requested_by, "
            "requested_at) ON command"
        ),
        # A row lock needs the right to change a column; tags are the operator's.
        "UPDATE (tags) ON agent",
        "UPDATE (note, revoked_at) ON enrollment_token",
        "UPDATE (state, approved_version, command_id, changed_at) ON package_state",
        "UPDATE (confirmed_at, confirmed_by, confirm_intent_id) ON update_plan",
        "UPDATE (lapsed_at) ON approval",
        "UPDATE (last_used_at, revoked_at) ON api_key",
        "UPDATE (status, response) ON idempotency_key",
        "DELETE ON idempotency_key",
    ],
}


def upgrade() -> None:
    # Servers older than PostgreSQL 15 let everybody create tables here.
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for role, grants in GRANTS.items():
        op.execute(CREATE_ROLE.format(role=role))
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        for grant in grants:
            op.execute(f"GRANT {grant} TO {role}")
