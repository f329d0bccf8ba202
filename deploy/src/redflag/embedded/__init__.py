"""PostgreSQL and nats-server out of wheels, run by nobody but us, on loopback, in one data directory."""
