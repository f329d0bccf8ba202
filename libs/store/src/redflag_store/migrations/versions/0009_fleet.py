"""Groups, the figures of hosts and their volumes."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    pass
