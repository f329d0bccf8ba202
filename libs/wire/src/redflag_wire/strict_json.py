r"""JSON as every reader understands it, or a refusal.

Python's own parser takes the last of duplicate keys, NaN and infinities, UTF-16, lone surrogates (which crash later)
and overflows its stack at a depth of some thousands. ``loads`` refuses all of these, and everything that is too big,
before ``json.loads`` sees the text: size, byte-order mark, UTF-8, depth and counts are found by passes over the bytes
whose time is linear and which never recurse. Digits are never made a number before their count is known.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from redflag_wire import limits
from redflag_wire.errors import JsonRefusedError

# An unterminated string runs to the end: from its first quote the pattern always matches, so no start is tried
# twice and a megabyte of escaped quotes costs one pass.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},:"))
_NOT_BRACKETS: Final = b",:"
_OPENING: Final = frozenset(b"[{")
_SUSPECT_ESCAPE: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")  # may be a surrogate or NUL
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def loads(
    data: bytes,
    *,
    max_depth: int = limits.JSON_MAX_DEPTH,
    max_keys: int = limits.JSON_MAX_KEYS,
    integers_only: bool = False,
    max_bytes: int = limits.JSON_MAX_BYTES,
    max_string_bytes: int = limits.STRING_MAX_BYTES,
    allow_nul: bool = False,
) -> Any:  # noqa: ANN401 - any JSON value
    """Parse one JSON document.

    Args:
        data: the whole document, UTF-8.
        max_depth: levels of nesting allowed; a bare value has none.
        max_keys: object members allowed in all; bounds list elements too (``limits.JSON_ITEMS_PER_KEY``).
        integers_only: refuse every number written with a fraction or exponent.
        max_bytes: size allowed.
        max_string_bytes: length of one string allowed, as written.
        allow_nul: let strings hold U+0000; only for readers that check each text themselves.

    Raises:
        JsonRefusedError: ``too_large``, ``bom``, ``utf8``, ``string_too_long``, ``too_many_keys``,
            ``too_many_items``, ``too_deep``, ``syntax``, ``duplicate_key``, ``number``, ``surrogate``, ``nul``.
    """
    if len(data) > max_bytes:
        raise JsonRefusedError("too_large", f"{len(data)} bytes, at most {max_bytes}")
    if data[:3] == b"\xef\xbb\xbf":
        raise JsonRefusedError("bom", "a byte-order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonRefusedError("utf8", f"not UTF-8 at byte {error.start}") from None
    _measure(data, max_depth, max_keys, max_string_bytes)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_float if integers_only else _float,
            parse_constant=_constant,
        )
    except JsonRefusedError:
        raise
    except ValueError as error:
        raise JsonRefusedError("syntax", str(error)) from None
    if _SUSPECT_ESCAPE.search(data) is not None:
        _check_strings(value, allow_nul=allow_nul)
    return value


def dumps(value: object) -> bytes:
    """Return compact UTF-8 JSON with members in their given order.

    Raises:
        JsonRefusedError: ``not_json``: NaN, infinities, lone surrogates, or no JSON value.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise JsonRefusedError("not_json", str(error)) from None


def _measure(data: bytes, max_depth: int, max_keys: int, max_string_bytes: int) -> None:
    # Counting quotes costs nothing and bounds what the two passes over the strings can cost.
    if data.count(b'"') > limits.JSON_QUOTES_PER_KEY * max_keys:
        raise JsonRefusedError("too_many_items", "more strings than so many members can have")
    if len(data) > max_string_bytes:
        longest = max(map(len, _STRING.findall(data)), default=0)
        if longest > max_string_bytes + 2:  # the quotes
            raise JsonRefusedError(
                "string_too_long", f"a string of {longest} bytes, at most {max_string_bytes}"
            )
    structure = _STRING.sub(b"", data).translate(None, _NOT_STRUCTURE)
    keys = structure.count(b":")
    if keys > max_keys:
        raise JsonRefusedError("too_many_keys", f"{keys} object members, at most {max_keys}")
    items = structure.count(b",") + structure.count(b"[") + structure.count(b"{")
    if items > limits.JSON_ITEMS_PER_KEY * max_keys:
        raise JsonRefusedError("too_many_items", f"{items} elements and containers")
    depth = 0
    for byte in structure.translate(None, _NOT_BRACKETS):
        if byte in _OPENING:
            depth += 1
            if depth > max_depth:
                raise JsonRefusedError("too_deep", f"more than {max_depth} levels")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise JsonRefusedError("duplicate_key", "an object names a member twice")
    return made


def _integer(text: str) -> int:
    # The count of digits comes first: int() of a long text costs the square of its length.
    if len(text) <= limits.NUMBER_MAX_CHARS:
        number = int(text)
        if abs(number) < limits.INTEGER_LIMIT:
            return number
    raise JsonRefusedError("number", "an integer of 2**53 or beyond")


def _float(text: str) -> float:
    if len(text) <= limits.NUMBER_MAX_CHARS:
        number = float(text)
        if abs(number) != float("inf"):
            return number
    raise JsonRefusedError("number", "a number beyond what can be held")


def _no_float(_text: str) -> float:
    raise JsonRefusedError("number", "a fraction or exponent where only integers are allowed")


def _constant(name: str) -> None:
    raise JsonRefusedError("number", f"{name} is not JSON")


def _check_strings(value: object, *, allow_nul: bool) -> None:
    for text in _strings(value):
        if _SURROGATE.search(text) is not None:
            raise JsonRefusedError("surrogate", "a lone surrogate")
        if not allow_nul and "\0" in text:
            raise JsonRefusedError("nul", "U+0000 in a string")


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
