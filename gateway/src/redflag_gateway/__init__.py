"""RedFlag's agent-facing HTTP gateway."""
