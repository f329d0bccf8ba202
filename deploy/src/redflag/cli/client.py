"""The API's client: synchronous, small, and quick to import; every wait has a deadline and every answer a bound.

Guarantees: whatever goes wrong is a `CliError` with the exit code that fits; redirects are not followed, so a key
goes nowhere but to the server named.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from redflag.cli.errors import CliError
from redflag.cli.exit_codes import ExitCode
from redflag.cli.server import Server

TIMEOUT_S: Final = 20.0  # for connecting, and for each read
ANSWER_MAX_BYTES: Final = 64 * 1024 * 1024
PAGE: Final = 500  # rows asked for at once
PREFIX: Final = "/api/v1"

_EXITS: Final = {
    400: ExitCode.USAGE,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    503: ExitCode.UNREACHABLE,
}
_HINTS: Final = {
    401: "check the key: --api-key-file, REDFLAG_API_KEY or REDFLAG_API_KEY_FILE",
    503: "look at `redflag doctor`",
}


def segment(text: str) -> str:
    """A path segment that stands for `text`, whatever it holds."""
    return quote(text, safe="")


class Client:
    """Speaks to one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        parts = urlsplit(server.url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        try:
            self._port = parts.port
        except ValueError:
            raise CliError(f"{server.url} has no usable port", ExitCode.USAGE) from None

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._server.url

    def get(self, path: str, *, timeout_s: float = TIMEOUT_S, **params: object) -> Any:  # noqa: ANN401 - JSON
        """Read `path` (below /api/v1); parameters that are None are left out.

        Raises:
            CliError: as the class says.
        """
        given = {name: _text(value) for name, value in params.items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        return self._send("GET", path + query, None, timeout_s)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Ask for a change.

        Raises:
            CliError: as the class says.
        """
        return self._send("POST", path, body, TIMEOUT_S)

    def items(self, path: str, limit: int, **params: object) -> dict[str, Any]:
        """The first `limit` rows of a list, over as many pages as that takes, with the list's other members.

        Raises:
            CliError: as the class says.
        """
        pages = self._pages(path, limit, params)
        whole: dict[str, Any] = next(pages)
        for page in pages:
            whole["items"] += page["items"]
            whole["next"] = page["next"]
        return whole

    def _pages(self, path: str, limit: int, params: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        cursor, left = None, limit
        while True:
            page = self.get(path, **{**params, "cursor": cursor, "limit": max(1, min(PAGE, left))})
            yield page
            cursor, left = page["next"], left - len(page["items"])
            if cursor is None or left <= 0:
                return

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Any:  # noqa: ANN401
        headers = {"Authorization": f"Bearer {self._server.key}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connect(timeout_s)
        try:
            connection.request(method, PREFIX + path, data, headers)
            response = connection.getresponse()
            status, answer = response.status, response.read(ANSWER_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        return self._read(status, answer)

    def _unreachable(self, error: Exception) -> CliError:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted ({error.verify_message})"
        elif isinstance(error, (TimeoutError, socket.timeout)):
            reason = "no answer in time"
        elif isinstance(error, socket.gaierror):
            reason = "its name cannot be resolved"
        elif isinstance(error, OSError):
            reason = error.strerror or str(error) or type(error).__name__
        elif isinstance(error, http.client.HTTPException):
            reason = "what answers there does not speak HTTP"
        else:
            reason = "the key or the address holds characters that do not belong there"
        return CliError(
            f"cannot reach the server {self._server.url}: {reason}",
            ExitCode.UNREACHABLE,
            hint="is `redflag up` running? `redflag doctor` looks closer",
            code="unreachable",
        )

    def _read(self, status: int, answer: bytes) -> Any:  # noqa: ANN401 - JSON
        try:
            found = json.loads(answer) if len(answer) <= ANSWER_MAX_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if found is None or not isinstance(found, dict):
            raise CliError(
                f"what answers at {self._server.url} is not RedFlag's API (status {status})",
                ExitCode.UNREACHABLE,
                hint="check the address",
                code="not_the_api",
            )
        if status >= 400:  # noqa: PLR2004 - HTTP's own border
            raise _problem(status, found)
        return found


def _problem(status: int, problem: dict[str, Any]) -> CliError:
    known = {"type", "title", "status", "detail", "code", "correlation_id"}
    title, detail = str(problem.get("title", "The request failed")), str(problem.get("detail", ""))
    code = str(problem.get("code", "failed"))
    exit_code = _EXITS.get(status, ExitCode.UNREACHABLE if status >= 500 else ExitCode.FAILED)  # noqa: PLR2004
    if code == "too_many_packages":
        exit_code = ExitCode.CONFLICT
    hint = _HINTS.get(status)
    if status >= 500:  # noqa: PLR2004 - the server's own fault
        hint = f"{hint + '; ' if hint else ''}correlation id {problem.get('correlation_id', 'none')}"
    return CliError(
        f"{title}: {detail}" if detail else title,
        exit_code,
        hint=hint,
        code=code,
        data={name: value for name, value in problem.items() if name not in known},
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
