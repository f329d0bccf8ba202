import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from redflag_store.engine import DatabaseUnreachableError, one_connection
from redflag_store.roles import Role, role_url, set_login
from tests.support.postgres import ROLE_PASSWORD, DatabaseUrl

DASHBOARD_REFUSED = [
    "SELECT pub FROM agent_key",
    "INSERT INTO agent_key DEFAULT VALUES",
    "UPDATE agent_key SET retired_at = now()",
    "DELETE FROM agent_key",
    "SELECT gen FROM access_generation",
    "INSERT INTO access_generation DEFAULT VALUES",
    "UPDATE access_generation SET state = 'current'",
    "DELETE FROM access_generation",
    "INSERT INTO signing_log DEFAULT VALUES",
    "UPDATE signing_log SET digest = ''",
    "DELETE FROM signing_log",
    "SELECT n FROM outbox",
    "INSERT INTO outbox DEFAULT VALUES",
    "UPDATE outbox SET n = 2",
    "DELETE FROM outbox",
    "INSERT INTO key_manifest DEFAULT VALUES",
    "UPDATE key_manifest SET envelope = ''",
    "DELETE FROM key_manifest",
    "INSERT INTO agent DEFAULT VALUES",
    "UPDATE agent SET state = 'active'",
    "UPDATE agent SET akt = ''",
    "UPDATE agent SET last_rseq = 9",
    "DELETE FROM agent",
    "INSERT INTO command (kind, state) VALUES ('scan', 'signed')",
    "INSERT INTO command (kind, source) VALUES ('scan', 'system')",
    "INSERT INTO command (kind, envelope) VALUES ('scan', '')",
    "INSERT INTO command (kind, seq) VALUES ('scan', 1)",
    "UPDATE command SET state = 'signed'",
    "UPDATE command SET envelope = ''",
    "DELETE FROM command",
    "UPDATE command_event SET cause = ''",
    "DELETE FROM command_event",
    "UPDATE intent SET operator = ''",
    "DELETE FROM intent",
    "UPDATE approval SET version = ''",
    "UPDATE approval SET operator = ''",
    "DELETE FROM approval",
    "UPDATE enrollment_token SET used = 0",
    "UPDATE enrollment_token SET max_seats = 9",
    "UPDATE enrollment_token SET pub = ''",
    "INSERT INTO enrolment DEFAULT VALUES",
    "INSERT INTO report_inbox DEFAULT VALUES",
    "UPDATE report_inbox SET envelope = ''",
    "DELETE FROM report_inbox",
    "UPDATE update_plan SET digest = ''",
    "UPDATE update_plan SET plan = ''",
    "INSERT INTO update_plan DEFAULT VALUES",
    "INSERT INTO update_history DEFAULT VALUES",
    "UPDATE update_history SET result = ''",
    "UPDATE update_event SET name = ''",
    "DELETE FROM update_event",
    "UPDATE system_event SET message = ''",
    "DELETE FROM system_event",
    "UPDATE package_state SET candidate = ''",
    "INSERT INTO package_state DEFAULT VALUES",
    "UPDATE api_key SET hash = ''",
    "UPDATE api_key SET scopes = '[]'",
    "UPDATE alembic_version SET version_num = 'x'",
    "SELECT redflag_ensure_update_event_partitions(CURRENT_DATE, 1)",
    "INSERT INTO subsystem DEFAULT VALUES",
    "UPDATE subsystem SET next_run_at = now()",
    "UPDATE subsystem SET last_result = 'succeeded'",
    "UPDATE subsystem SET present = true",
    "DELETE FROM subsystem",
    "INSERT INTO subsystem_revision DEFAULT VALUES",
    "UPDATE agent SET fast_forever = true",
    "INSERT INTO job (made) VALUES (1)",
    "INSERT INTO job (state) VALUES ('finished')",
    "INSERT INTO job (cancel_intent_id) VALUES (NULL)",
    "INSERT INTO job_item (command_id) VALUES (gen_random_uuid())",
    "INSERT INTO job_item (state) VALUES ('made')",
    "UPDATE job SET made = 0",
    "UPDATE job_item SET command_id = NULL",
    "DELETE FROM job",
    "DELETE FROM job_item",
    "INSERT INTO tally (rows) VALUES (1)",
    "INSERT INTO update_tally (hosts) VALUES (1)",
    "UPDATE agent_update_count SET open = 0",
    *(
        f"DO 'BEGIN CREATE TEMP TABLE mine (id uuid); CREATE TRIGGER t AFTER INSERT ON mine EXECUTE FUNCTION {name}(); "
        "END'"
        for name in (
            "redflag_release_packages",
            *(
                f"redflag_count_{what}_{how}"
                for what in ("updates", "commands", "hosts_open", "events")
                for how in ("insert", "update", "delete")
            ),
        )
    ),
    "SET ROLE redflag_dispatcher",
]

DISPATCHER_REFUSED = [
    "SELECT hash FROM api_key",
    "INSERT INTO api_key DEFAULT VALUES",
    "SELECT key FROM idempotency_key",
    "INSERT INTO setting DEFAULT VALUES",
    "UPDATE setting SET changed_by = ''",
    "INSERT INTO subsystem_default DEFAULT VALUES",
    "UPDATE subsystem_default SET enabled = false",
    "DELETE FROM subsystem_default",
    "UPDATE subsystem_revision SET revision = 0",
    "DELETE FROM subsystem",
    "INSERT INTO intent DEFAULT VALUES",
    "UPDATE intent SET operator = ''",
    "INSERT INTO approval DEFAULT VALUES",
    "UPDATE approval SET version = ''",
    "INSERT INTO enrollment_token DEFAULT VALUES",
    "UPDATE enrollment_token SET max_seats = 9",
    "UPDATE enrollment_token SET revoked_at = NULL",
    "UPDATE signing_log SET digest = ''",
    "DELETE FROM signing_log",
    "UPDATE command_event SET cause = ''",
    "DELETE FROM command_event",
    "DELETE FROM command",
    "DELETE FROM agent",
    "UPDATE agent_key SET pub = ''",
    "DELETE FROM agent_key",
    "UPDATE key_manifest SET envelope = ''",
    "DELETE FROM key_manifest",
    "UPDATE report_inbox SET envelope = ''",
    "UPDATE update_event SET name = ''",
    "UPDATE update_history SET result = ''",
    "UPDATE alembic_version SET version_num = 'x'",
    "SET ROLE redflag_dashboard",
]

DDL_REFUSED = [
    "CREATE TABLE mine (id integer)",
    "CREATE TABLE public.mine (id integer)",
    "CREATE SCHEMA mine",
    "ALTER TABLE command ADD COLUMN mine integer",
    "DROP TABLE command",
    "TRUNCATE command_event",
    "CREATE INDEX mine ON command (id)",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE command DISABLE TRIGGER ALL",
    "CREATE ROLE mine",
]

ALLOWED = {
    Role.DASHBOARD: [
        "SELECT * FROM agent FOR NO KEY UPDATE",
        "SELECT thumbprint FROM agent_key",
        "SELECT envelope FROM key_manifest",
        "SELECT * FROM signing_log",
        "UPDATE package_state SET state = 'approved', approved_version = '1', changed_at = now()",
        "UPDATE update_plan SET confirmed_at = now(), confirmed_by = 'x'",
        "UPDATE enrollment_token SET revoked_at = now()",
        "UPDATE api_key SET last_used_at = now()",
        "SELECT version_num FROM alembic_version",
        "LISTEN redflag_change",
    ],
    Role.DISPATCHER: [
        "SELECT * FROM command FOR UPDATE SKIP LOCKED",
        "UPDATE enrollment_token SET used = used + 1",
        "UPDATE approval SET lapsed_at = now()",
        "DELETE FROM outbox",
        "SELECT redflag_ensure_update_event_partitions(CURRENT_DATE, 3)",
        "SELECT version_num FROM alembic_version",
        "LISTEN redflag_requested",
    ],
}


async def attempt(url: str, statement: str) -> None:
    async with one_connection(url, application_name="tests") as connection:
        await connection.execute(text(statement.replace(":", r"\:")))
        await connection.commit()


async def refused(url: str, statements: list[str]) -> list[str]:
    """Those of `statements` that were *not* refused for want of a right."""
    passed = []
    async with one_connection(url, application_name="tests") as connection:
        for statement in statements:
            try:
                await connection.execute(text(statement.replace(":", r"\:")))
            except ProgrammingError as error:
                if getattr(error.orig, "sqlstate", None) != "42501":
                    passed.append(f"{statement}: {error.orig}")
            else:
                passed.append(statement)
            await connection.rollback()
    return passed


async def test_dashboard_is_refused_what_it_must_not_do(database: DatabaseUrl) -> None:
    assert await refused(database.dashboard, DASHBOARD_REFUSED) == []


async def test_dispatcher_is_refused_what_it_must_not_do(database: DatabaseUrl) -> None:
    assert await refused(database.dispatcher, DISPATCHER_REFUSED) == []


@pytest.mark.parametrize("role", Role)
async def test_role_is_refused_every_ddl(database: DatabaseUrl, role: Role) -> None:
    assert await refused(role_url(database, role, ROLE_PASSWORD), DDL_REFUSED) == []


@pytest.mark.parametrize("role", Role)
async def test_role_may_do_its_work(database: DatabaseUrl, role: Role) -> None:
    for statement in ALLOWED[role]:
        await attempt(role_url(database, role, ROLE_PASSWORD), statement)


async def test_manual_command_without_an_intent_is_refused_by_the_table(database: DatabaseUrl) -> None:
    with pytest.raises(DBAPIError, match="ck_command_manual_has_intent"):
        await attempt(
            database.dashboard,
            "INSERT INTO command (id, agent_id, kind, requested_by, requested_at) "
            "VALUES (gen_random_uuid(), gen_random_uuid(), 'scan', 'x', now())",
        )


async def test_role_logs_in_with_its_last_password_only(database: DatabaseUrl) -> None:
    await set_login(database, Role.DASHBOARD, "another: 'one'")
    try:
        await attempt(role_url(database, Role.DASHBOARD, "another: 'one'"), "SELECT 1")
        with pytest.raises(DatabaseUnreachableError, match="password"):
            await attempt(database.dashboard, "SELECT 1")
    finally:
        await set_login(database, Role.DASHBOARD, ROLE_PASSWORD)
    await attempt(database.dashboard, "SELECT 1")
