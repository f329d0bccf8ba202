"""Connect a program to the broker as the service it is.

It guarantees an inbox below the service's own prefix (the broker refuses any other), reconnecting for ever with a
bounded buffer, and that the first connection either stands within its deadline or raises.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats.errors
import nkeys
from nats.aio.client import Client

from redflag_broker_config.errors import BrokerUnreachableError, CredentialsError
from redflag_broker_config.permissions import Service, inbox_prefix

CONNECT_DEADLINE_S = 10.0  # for the first connection
ATTEMPT_DEADLINE_S = 3  # for one attempt
RECONNECT_WAIT_S = 0.25  # between attempts at the same server
PING_INTERVAL_S = 15  # a dead peer is noticed after at most two of them
MAX_OUTSTANDING_PINGS = 2
PENDING_MAX_BYTES = 8 * 1024 * 1024  # what may wait for the socket, also while reconnecting
SEED_MAX_BYTES = 4096

ErrorCallback = Callable[[Exception], Awaitable[None]]
Callback = Callable[[], Awaitable[None]]


def read_seed(path: Path) -> str:
    """Read a user's NKey seed from a file.

    Raises:
        CredentialsError: the file cannot be read or holds something else.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(SEED_MAX_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(str(path)) from error
    public_key(text, str(path))
    return text


def public_key(seed: str, what: str = "the seed") -> str:
    """Return the public NKey (``U...``) of a user's seed.

    Raises:
        CredentialsError: it is not the seed of a user.
    """
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))  # type: ignore[no-untyped-call]  # ships no types
        public: str = pair.public_key.decode()
        pair.wipe()
    except (nkeys.NkeysError, ValueError) as error:
        raise CredentialsError(what) from error
    if not public.startswith("U"):
        raise CredentialsError(what)
    return public


def make_seed(random: Callable[[int], bytes]) -> str:
    """Make a new user's NKey seed.

    Args:
        random: gives that many random bytes, for example ``secrets.token_bytes``.
    """
    seed: bytes = nkeys.encode_seed(random(32), nkeys.PREFIX_BYTE_USER)  # type: ignore[no-untyped-call]
    return seed.decode()


async def connect(
    url: str,
    seed_path: Path,
    service: Service | str,
    name: str,
    *,
    on_error: ErrorCallback,
    on_disconnected: Callback | None = None,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
    deadline_s: float = CONNECT_DEADLINE_S,
) -> Client:
    """Connect to the broker.

    Args:
        url: one address or several with commas between them.
        seed_path: file with the service's NKey seed.
        service: which service this is; decides the inbox prefix.
        name: shown in the server's list of connections.
        on_error: told of every error of the connection, refused permissions among them.
        on_disconnected: told when the connection is lost.
        on_reconnected: told when it stands again; subscriptions are already made again then.
        on_closed: told when it is closed for good.
        deadline_s: seconds until the first connection must stand.

    Raises:
        CredentialsError: the seed file is not usable.
        BrokerUnreachableError: no connection in time, or refused.
    """
    seed = read_seed(seed_path)
    client = Client()
    last: list[str] = []

    async def remember(error: Exception) -> None:
        last[:] = [str(error) or type(error).__name__]
        await on_error(error)

    try:
        async with asyncio.timeout(deadline_s):
            await client.connect(
                url.split(","),
                error_cb=remember,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                closed_cb=on_closed,
                name=name,
                connect_timeout=ATTEMPT_DEADLINE_S,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # used as seconds to sleep
                max_reconnect_attempts=-1,
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=MAX_OUTSTANDING_PINGS,
                nkeys_seed_str=seed,
                inbox_prefix=inbox_prefix(Service(service)),
                pending_size=PENDING_MAX_BYTES,
            )
    except TimeoutError:
        await _abandon(client)
        raise BrokerUnreachableError(url, last[0] if last else f"no answer within {deadline_s:g} s") from None
    except (nats.errors.Error, OSError) as error:
        await _abandon(client)
        raise BrokerUnreachableError(url, str(error) or type(error).__name__) from error
    return client


async def _abandon(client: Client) -> None:
    """Close what an attempt left open; the client keeps the last attempt's socket otherwise."""
    try:
        async with asyncio.timeout(ATTEMPT_DEADLINE_S):
            await client.close()
    except (TimeoutError, nats.errors.Error, OSError) as error:
        logging.getLogger(__name__).info("broker.abandon_failed: %s", error)
