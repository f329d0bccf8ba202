"""The monthly partitions of `update_event`.

Guarantees: an insert never fails for want of a partition (a default one catches it), and `ensure_partitions`
moves what it caught into the month's own. The work is a function of the database that runs with its owner's
rights, because no program's role may create tables.
"""

import re
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_wire.clock import Clock

MONTHS_AHEAD: Final = 3  # months, this one included, that are kept ready; the database refuses more than 24

_MONTH_TABLE: Final = re.compile(
    r"update_event_(\d{4}_\d{2}|default)|host_metric_(\d{4}_\d{2}_\d{2}|default)"
)


def is_month_table(name: str) -> bool:
    """Whether `name` is a partition, which no model declares."""
    return _MONTH_TABLE.fullmatch(name) is not None


async def ensure_partitions(session: AsyncSession, clock: Clock, *, months: int = MONTHS_AHEAD) -> int:
    """Make this month's and the coming months' partitions where missing; returns how many were made.

    Call it daily; it is cheap when there is nothing to do.
    """
    made = await session.scalar(
        text("SELECT redflag_ensure_update_event_partitions(:first, :months)"),
        {"first": clock.now().date(), "months": months},
    )
    return int(made or 0)
