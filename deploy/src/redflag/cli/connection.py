"""The client of the REST API.

Guarantees: every request has a deadline and every answer a bound; redirects and proxies are not followed, so the
key goes to the address named and nowhere else; whatever fails is an error of `redflag.cli.problems`. A request
that changes something carries an idempotency key and is sent a second time when the connection breaks before
the answer: it is carried out once.
"""

import asyncio
import json
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from redflag.cli.api_values import Json, host_named, query_texts
from redflag.cli.find_server import Server
from redflag.cli.problems import ApiProblemError, ServerUnreachableError, UsageRefusedError

PREFIX: Final = "/api/v1"
DEADLINE_S: Final = 30.0  # for one answer, beyond the time the server was asked to wait
CONNECT_S: Final = 5.0
ANSWER_MAX_BYTES: Final = 64 * 1024 * 1024
CA_MAX_BYTES: Final = 1024 * 1024
PAGE: Final = 500  # rows asked for at once


class Api:
    """Speaks to one server.

    Args:
        server: where, and with which key.

    Raises:
        UsageRefusedError: its authority's file is not usable.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.server_time: datetime | None = None  # by its last answer
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {server.key}", "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=_trust(server.ca)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def now(self) -> datetime:
        """The server's time as far as it is known, else this machine's."""
        return self.server_time or datetime.now(UTC)

    async def get(self, path: str, query: Mapping[str, object] | None = None, *, wait_s: float = 0) -> Json:
        """Ask for something.

        Args:
            path: below the API's prefix, each segment quoted.
            query: parameters; those that are None are left out.
            wait_s: seconds the server was asked to wait before it answers.

        Raises:
            CliError: it failed.
        """
        return await self._ask("GET", path, query=query, wait_s=wait_s)

    async def post(self, path: str, body: Mapping[str, object] | None, *, nulls: bool = False) -> Json:
        """Ask for a change; members of `body` that are None are left out, or with `nulls` sent as null.

        Without a body none is sent, as operations that take none want it.

        Raises:
            CliError: it failed.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        chosen = (
            None
            if body is None
            else {name: value for name, value in body.items() if nulls or value is not None}
        )
        try:
            return await self._ask("POST", path, body=chosen, headers=headers)
        except _BrokenError:
            return await self._ask("POST", path, body=chosen, headers=headers)

    async def pages(
        self, path: str, query: Mapping[str, object], *, limit: int, cursor: str | None = None
    ) -> Json:
        """Return a list's first `limit` rows as one page, with the rest of the first answer's members.

        Raises:
            CliError: it failed.
        """
        whole: Json | None = None
        while True:
            left = limit - (len(whole["items"]) if whole else 0)
            page = await self.get(path, {**query, "cursor": cursor, "limit": min(left, PAGE)})
            cursor = page.get("next")
            if whole is None:
                whole = page
            else:
                whole["items"] += page["items"]
                whole["next"] = cursor
            if cursor is None or len(whole["items"]) >= limit or not page["items"]:
                return whole

    async def export(self, path: str, query: Mapping[str, object], take: Callable[[bytes], object]) -> None:
        """Hand an export on as it comes; it is whole when this returns.

        Args:
            path: below the API's prefix.
            query: parameters; those that are None are left out.
            take: gets each piece.

        Raises:
            CliError: it failed, in the middle perhaps.
        """
        url = URL(f"{self.server.api_url}{PREFIX}{path}", encoded=True).with_query(query_texts(query))
        silence = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=DEADLINE_S)
        async with (
            self._in_words(DEADLINE_S),
            self._session.get(url, allow_redirects=False, timeout=silence) as answer,
        ):
            if answer.status == 200:  # noqa: PLR2004 - HTTP's number reads best as itself
                async for part in answer.content.iter_any():
                    take(part)
                return
            data = await self._whole(answer)
        self._judge(answer.status, data, host_named(path, query))
        raise self._unreachable(f"does not answer as RedFlag's API does (status {answer.status})")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0,
    ) -> Json:
        url = URL(f"{self.server.api_url}{PREFIX}{path}", encoded=True).with_query(query_texts(query or {}))
        deadline_s = DEADLINE_S + wait_s
        async with (
            self._in_words(deadline_s),
            asyncio.timeout(deadline_s),
            self._session.request(method, url, json=body, headers=headers, allow_redirects=False) as answer,
        ):
            data = await self._whole(answer)
            self._note_time(answer.headers.get("Date"))
        return self._judge(answer.status, data, host_named(path, {**(query or {}), **(body or {})}))

    async def _whole(self, answer: aiohttp.ClientResponse) -> bytearray:
        data = bytearray()
        async for part in answer.content.iter_any():
            data += part
            if len(data) > ANSWER_MAX_BYTES:
                raise self._unreachable(f"answers with more than {ANSWER_MAX_BYTES} bytes")
        return data

    @asynccontextmanager
    async def _in_words(self, deadline_s: float) -> AsyncIterator[None]:
        """Turn whatever goes wrong with a connection into an error for people."""
        try:
            yield
        except TimeoutError:
            raise self._unreachable(f"does not answer within {deadline_s:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            message, hints = self._words(f"shows a certificate that is not trusted: {_why(error)}")
            raise ServerUnreachableError(
                message, ["name the authority that signed it with --ca FILE", *hints]
            ) from None
        except aiohttp.ClientConnectorSSLError as error:
            message, hints = self._words(f"does not speak TLS as it should: {_tls_reason(error)}")
            raise ServerUnreachableError(message, ["is the address right, https and port?", *hints]) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(f"cannot be reached: {_reason(error)}") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as error:
            raise _BrokenError(*self._words(f"broke the connection: {_reason(error)}")) from None
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise self._unreachable(f"cannot be spoken to: {_reason(error)}") from None

    def _judge(self, status: int, data: bytearray, host: str | None) -> Json:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if status >= 400:  # noqa: PLR2004 - HTTP's number reads best as itself
            raise ApiProblemError(status, found if isinstance(found, dict) else {}, host)
        if not isinstance(found, dict) or status >= 300:  # noqa: PLR2004
            raise self._unreachable(f"does not answer as RedFlag's API does (status {status})")
        return found

    def _note_time(self, text: str | None) -> None:
        try:
            self.server_time = parsedate_to_datetime(text).astimezone(UTC) if text else None
        except ValueError:
            self.server_time = None

    def _words(self, what: str) -> tuple[str, list[str]]:
        hints = ["redflag doctor"]
        if self.server.data is not None:
            hints.insert(0, f"is it running? start it with: redflag up --data {self.server.data.root}")
        return f"{self.server.api_url} {what}", hints

    def _unreachable(self, what: str) -> ServerUnreachableError:
        return ServerUnreachableError(*self._words(what))


def _tls_reason(error: aiohttp.ClientConnectorSSLError) -> str:
    # Its number is of OpenSSL and would be taken for one of the system's.
    cause = error.os_error
    named = cause.reason if isinstance(cause, ssl.SSLError) else None
    return (named or "handshake failed").replace("_", " ").lower()


def _why(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    """Return what verifies the server; there is nothing that turns the verification off.

    Raises:
        UsageRefusedError: the file of the authority is not usable.
    """
    if ca is None:
        return True
    try:
        with ca.open("rb") as file:
            text = file.read(CA_MAX_BYTES).decode("ascii", "replace")
        context = ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise UsageRefusedError(f"--ca: {ca} holds no certificate in PEM form") from None
    except OSError as error:
        raise UsageRefusedError(f"--ca: cannot read {ca}: {os.strerror(error.errno or 0)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _BrokenError(ServerUnreachableError):
    """The connection broke after the request was sent, perhaps."""


def _reason(error: Exception) -> str:
    # asyncio's own words for a refused connection are for programmers; the system's are for people.
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__
