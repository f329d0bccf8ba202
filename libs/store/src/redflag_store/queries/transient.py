"""Which failures of the database pass by themselves, so that a loop waits and tries again.

What is not in `TRANSIENT`, or is refused data by `is_refused_data`, is no reason to try again.
"""

from typing import Final

import asyncpg
from asyncpg.exceptions import InterfaceError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

TRANSIENT: Final[tuple[type[Exception], ...]] = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    DBAPIError,  # raised by connecting and by pre-ping; our statements go to the driver itself
    InterfaceError,  # the connection is closed
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
)

_REFUSED: Final[tuple[type[Exception], ...]] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.UntranslatableCharacterError,
)


def is_refused_data(error: BaseException) -> bool:
    """Whether the database or its driver refused the data itself; trying again changes nothing.

    The driver's own refusal of a value (a number too large for its column) is an `InterfaceError` that is a
    `ValueError` as well.
    """
    return isinstance(error, _REFUSED) or (
        isinstance(error, InterfaceError) and isinstance(error, ValueError)
    )
