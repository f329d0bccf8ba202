"""RedFlag's agent: verifies signed commands, journals them, acts and reports."""
