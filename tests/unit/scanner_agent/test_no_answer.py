import errno
import socket
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from redflag_scanner_agent.connection import Call, Connection, open_session
from redflag_scanner_agent.errors import ServerUnreachableError
from redflag_scanner_agent.host_clock import HostClock
from redflag_scanner_agent.no_answer import no_answer
from redflag_wire.signing import SigningKey

ORIGIN = "https://redflag.example.org"
KEY = cast("Any", SimpleNamespace(host="redflag.example.org", port=443, ssl=True))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)")),
            f"nothing answers at {ORIGIN}: connection refused",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
            f"nothing answers at {ORIGIN}: this name is not known here",
        ),
        (aiohttp.ConnectionTimeoutError("x"), f"nothing answers at {ORIGIN}: not in time"),
        (TimeoutError(), f"no answer from {ORIGIN}: not in time"),
        (
            aiohttp.ServerDisconnectedError(),
            f"no answer from {ORIGIN}: the connection was closed before an answer",
        ),
        (ValueError("an answer too large"), f"no answer from {ORIGIN}: an answer too large"),
    ],
)
def test_fault_is_said_in_plain_words(error: Exception, text: str) -> None:
    assert no_answer(ORIGIN, error) == text


async def test_closed_port_is_connection_refused() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with open_session() as session:
            connection = Connection(session, origin, SigningKey.from_seed(bytes(32)), HostClock())
            with pytest.raises(ServerUnreachableError) as caught:
                await connection.call(Call(method="GET", path="/keys"))
    assert caught.value.detail == f"nothing answers at {origin}: connection refused"
