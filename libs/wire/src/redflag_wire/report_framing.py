"""Reports in a batch: ``[u32 length][envelope][u32 length][compressed body]`` repeated, lengths big-endian.

At most 2 MiB and 1,024 reports in all (docs/protocol.md 9). Nothing inside is parsed here; a length is compared with
what is there before a byte is copied.
"""

import struct
from collections.abc import Iterable
from typing import Final

from redflag_wire import limits
from redflag_wire.errors import FramingRefusedError

_LENGTH: Final = struct.Struct(">I")


def frame_reports(reports: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the batch of (envelope, compressed body) pairs; an empty body says there is none.

    Raises:
        FramingRefusedError: as ``split_reports`` would refuse the result.
    """
    parts: list[bytes] = []
    count = 0
    for count, (envelope, body) in enumerate(reports, start=1):  # noqa: B007 - the last count is used below
        _check_sizes(len(envelope), len(body))
        parts += (_LENGTH.pack(len(envelope)), envelope, _LENGTH.pack(len(body)), body)
    _check_count(count)
    data = b"".join(parts)
    _check_total(len(data))
    return data


def split_reports(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the (envelope, compressed body) pairs of a batch.

    Raises:
        FramingRefusedError: ``too_large``, ``empty``, ``truncated``, ``envelope_size``, ``body_size``,
            ``too_many_reports``.
    """
    _check_total(len(data))
    reports: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        _check_count(len(reports) + 1)
        envelope, at = _take(data, at)
        body, at = _take(data, at)
        _check_sizes(len(envelope), len(body))
        reports.append((envelope, body))
    _check_count(len(reports))
    return reports


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + _LENGTH.size
    if start > len(data):
        raise FramingRefusedError("truncated", f"a length is cut off at byte {at}")
    (length,) = _LENGTH.unpack_from(data, at)
    if length > len(data) - start:
        raise FramingRefusedError(
            "truncated", f"{length} bytes announced at byte {at}, {len(data) - start} are there"
        )
    return data[start : start + length], start + length


def _check_total(size: int) -> None:
    if size > limits.REPORTS_MAX_BYTES:
        raise FramingRefusedError("too_large", f"{size} bytes, at most {limits.REPORTS_MAX_BYTES}")


def _check_count(count: int) -> None:
    if count == 0:
        raise FramingRefusedError("empty", "a batch has at least one report")
    if count > limits.REPORTS_MAX_COUNT:
        raise FramingRefusedError(
            "too_many_reports", f"at most {limits.REPORTS_MAX_COUNT} reports in a batch"
        )


def _check_sizes(envelope: int, body: int) -> None:
    if not 0 < envelope <= limits.ENVELOPE_MAX_BYTES:
        raise FramingRefusedError("envelope_size", f"an envelope of {envelope} bytes")
    if body > limits.BODY_MAX_COMPRESSED:
        raise FramingRefusedError(
            "body_size", f"a body of {body} bytes, at most {limits.BODY_MAX_COMPRESSED}"
        )
