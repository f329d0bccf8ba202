"""Subsystems of hosts, their defaults, and fast mode."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    pass
