"""RedFlag's operator API."""
