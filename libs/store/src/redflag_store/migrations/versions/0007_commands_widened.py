"""What the wider life of commands needs: jobs, rate limits, retries, cancelling."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    pass
