"""What travels to and from the API: its JSON objects, and texts as parts of an address. Pure.

Apart from `connection` so that a command's help needs no HTTP client.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from redflag.cli.problems import NothingFoundError, UsageRefusedError

Json = dict[str, Any]
"""A JSON object as the API answers it."""


def segment(text: str) -> str:
    """Return text as one segment of a path.

    Raises:
        UsageRefusedError: it cannot be one.
    """
    if text in ("", ".", ".."):
        raise UsageRefusedError(f"{text!r} names nothing")
    return quote(text, safe="", errors="replace")


def record_id(text: str, what: str) -> str:
    """Return a record's id as it stands in an address.

    Args:
        text: as it was written.
        what: the kind of record, `command` for one; `redflag commands list` lists them.

    Raises:
        NothingFoundError: it is no id, so no record has it.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise NothingFoundError(
            f"no {what} has the id {text!r}; ids are UUIDs", [f"see: redflag {what}s list"]
        ) from None


def query_texts(query: Mapping[str, object]) -> dict[str, str]:
    """Return a query's parameters as texts, without those that are None."""
    texts = {}
    for name, value in query.items():
        if value is not None:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def host_named(path: str, members: Mapping[str, object]) -> str | None:
    """Return the host a request is about: the one in its path, else its member `host`; None for none."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "hosts":  # noqa: PLR2004 - "", "hosts", the host
        return unquote(parts[2])
    host = members.get("host")
    return host if isinstance(host, str) else None
