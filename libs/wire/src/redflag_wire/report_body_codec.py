"""A body packed and opened within its bounds (docs/protocol.md 6).

``open_body`` compares length and digest of the bytes as they came before it unpacks anything, and never holds more than
8 MiB of output, whatever the input claims. There is no limit on the ratio: honest inventories shrink forty to one.
"""

import hashlib
import hmac
import zlib
from typing import Final, Literal

from redflag_wire import limits
from redflag_wire.errors import BodyRefusedError
from redflag_wire.report import BodyRef

_GZIP_WBITS: Final = 31  # zlib's own number for a gzip wrapper with the largest window
_GZIP_LEVEL: Final = 6


def seal_body(data: bytes, encoding: Literal["gzip", "identity"] = "gzip") -> tuple[BodyRef, bytes]:
    """Return the reference for the report and the bytes that travel. The same data gives the same bytes.

    Raises:
        BodyRefusedError: ``empty``, ``decoded_too_large``, ``too_large`` when even packed it is beyond 1 MiB.
    """
    if not data:
        raise BodyRefusedError("empty", "a report without a body has no reference")
    if len(data) > limits.BODY_MAX_DECODED:
        raise BodyRefusedError("decoded_too_large", f"{len(data)} bytes, at most {limits.BODY_MAX_DECODED}")
    sealed = data
    if encoding == "gzip":
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
        sealed = packer.compress(data) + packer.flush()
    if len(sealed) > limits.BODY_MAX_COMPRESSED:
        raise BodyRefusedError(
            "too_large", f"{len(sealed)} bytes packed, at most {limits.BODY_MAX_COMPRESSED}"
        )
    ref = BodyRef(sha256=hashlib.sha256(sealed).hexdigest(), length=len(sealed), encoding=encoding)
    return ref, sealed


def open_body(compressed: bytes, ref: BodyRef) -> bytes:
    """Return the decoded body the reference names. Takes up to some 30 ms: call it off the event loop.

    Raises:
        BodyRefusedError: ``length``, ``digest``, ``gzip`` for corrupt or cut data, ``trailing`` for more than one
            member, ``decoded_too_large``.
    """
    if len(compressed) != ref.length:
        raise BodyRefusedError("length", f"{len(compressed)} bytes, {ref.length} are signed")
    if not hmac.compare_digest(hashlib.sha256(compressed).hexdigest(), ref.sha256):
        raise BodyRefusedError("digest", "not the bytes that are signed")
    return compressed if ref.encoding == "identity" else _gunzip(compressed)


def _gunzip(compressed: bytes) -> bytes:
    opener = zlib.decompressobj(_GZIP_WBITS)
    try:
        data = opener.decompress(compressed, limits.BODY_MAX_DECODED + 1)
    except zlib.error as error:
        raise BodyRefusedError("gzip", str(error)) from None
    if len(data) > limits.BODY_MAX_DECODED:
        raise BodyRefusedError("decoded_too_large", f"more than {limits.BODY_MAX_DECODED} bytes unpacked")
    if not opener.eof:
        raise BodyRefusedError("gzip", "the data ends too early")
    if opener.unused_data:
        raise BodyRefusedError("trailing", "bytes after the end of the data")
    return data
