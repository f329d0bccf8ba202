"""Names, limits and permissions of RedFlag's NATS broker, from one definition."""
