"""Why a server did not answer, in words for the person who looks at it. It asks nobody."""

import errno
import os
import socket
import ssl

import aiohttp


def no_answer(origin: str, error: Exception) -> str:
    """Return what an error of a request means, on one line.

    Args:
        origin: where the request went.
        error: what the HTTP client raised.
    """
    never_reached = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return f"{'nothing answers at' if never_reached else 'no answer from'} {origin}: {_why(error)}"


def _why(error: Exception) -> str:
    cause: BaseException = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, socket.gaierror):
        return "this name is not known here"
    if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
        return "not in time"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS connection: {cause.reason or cause.strerror}"
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(cause, OSError) and cause.errno in {errno.ECONNRESET, errno.EPIPE}
    ):
        return "the connection was closed before an answer"
    if isinstance(cause, OSError) and cause.errno:
        text = os.strerror(cause.errno)
        return text[:1].lower() + text[1:]
    return str(error) or type(error).__name__
