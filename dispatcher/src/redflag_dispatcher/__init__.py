"""RedFlag's signer, relay, ingest and auth service."""
