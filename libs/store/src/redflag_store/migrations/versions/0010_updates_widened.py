"""What is known of an update beyond its version, and inventories by digest."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    pass
