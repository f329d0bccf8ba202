"""RedFlag's tables, queries and migrations in PostgreSQL."""
