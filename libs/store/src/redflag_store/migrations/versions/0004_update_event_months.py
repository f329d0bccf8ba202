"""Monthly partitions of update_event, a default one, and the function that makes the coming ones."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Runs with the owner's rights, so that a program may call it without being able to create tables. Rows caught
# by the default partition meanwhile are moved, because a partition cannot be attached over them. The month is
# bounded to be near today, so that a caller cannot fill the catalog.
FUNCTION = """
CREATE FUNCTION redflag_ensure_update_event_partitions(first date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month timestamp;
    lower_bound timestamptz;
    upper_bound timestamptz;
    part text;
    made integer := 0;
BEGIN
    IF months NOT BETWEEN 1 AND 24 THEN
        RAISE EXCEPTION 'months must be 1 to 24, not %', months;
    END IF;
    IF abs(first - CAST(now() AT TIME ZONE 'UTC' AS date)) > 366 THEN
        RAISE EXCEPTION 'the first month must lie within a year of today, not %', first;
    END IF;
    PERFORM pg_advisory_xact_lock(1380339021);
    FOR i IN 0 .. months - 1 LOOP
        month := date_trunc('month', first::timestamp) + make_interval(months => i);
        part := 'update_event_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        lower_bound := month AT TIME ZONE 'UTC';
        upper_bound := (month + interval '1 month') AT TIME ZONE 'UTC';
        LOCK TABLE update_event_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE update_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM update_event_default WHERE at >= %L AND at < %L RETURNING *) '
            'INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, part);
        EXECUTE format(
            'ALTER TABLE update_event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            part, lower_bound, upper_bound);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$
"""


def upgrade() -> None:
    op.execute("CREATE TABLE update_event_default PARTITION OF update_event DEFAULT")
    op.execute(FUNCTION)
    op.execute("REVOKE EXECUTE ON FUNCTION redflag_ensure_update_event_partitions(date, integer) FROM PUBLIC")
    op.execute("SELECT redflag_ensure_update_event_partitions(CAST(now() AT TIME ZONE 'UTC' AS date), 3)")
