"""What the agent's two processes say to each other: `[u32 length][u32 length][header JSON][bytes]`.

Both lengths are compared with their bounds before anything is read. A message that is out of bounds or not strict
JSON ends the connection: there is no honest way to it. Requests carry an `id` and their answers the same one; a
message of the helper without an `id` is a notice.
"""

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

from redflag_scanner_agent.errors import IpcError
from redflag_wire import limits, strict_json
from redflag_wire.errors import JsonRefusedError

HEADER_MAX_BYTES = 64 * 1024
BLOB_MAX_BYTES = 9 * 1024 * 1024  # the largest is a chain of 33 manifests
SEND_DEADLINE_S = 30.0
_LENGTHS = struct.Struct(">II")
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        header: a small JSON object.
        blob: bytes that go with it, empty for none.
    """

    header: dict[str, Any]
    blob: bytes = b""


class Channel:
    """One end of the connection.

    Args:
        reader: its incoming half.
        writer: its outgoing half.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()

    async def send(self, header: dict[str, Any], blob: bytes = b"") -> None:
        """Send a message.

        Raises:
            IpcError: the other end is gone or does not read, or the message is out of bounds.
        """
        data = strict_json.dumps(header)
        if len(data) > HEADER_MAX_BYTES or len(blob) > BLOB_MAX_BYTES:
            raise IpcError("ipc_size", f"a message of {len(data)} and {len(blob)} bytes")
        try:
            async with asyncio.timeout(SEND_DEADLINE_S), self._sending:
                self._writer.write(_LENGTHS.pack(len(data), len(blob)) + data + blob)
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise IpcError("ipc_closed", f"the other process is gone: {error}") from None

    async def receive(self) -> Message | None:
        """Wait for the next message; None when the other end has closed.

        Raises:
            IpcError: what came is not a message.
        """
        try:
            header_length, blob_length = _LENGTHS.unpack(await self._reader.readexactly(_LENGTHS.size))
            if header_length > HEADER_MAX_BYTES or blob_length > BLOB_MAX_BYTES:
                raise IpcError("ipc_size", f"a message of {header_length} and {blob_length} bytes")
            header = strict_json.loads(await self._reader.readexactly(header_length))
            blob = await self._reader.readexactly(blob_length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except JsonRefusedError as error:
            raise IpcError("ipc_json", str(error)) from None
        if not isinstance(header, dict):
            raise IpcError("ipc_json", "a header is an object")
        return Message(header, blob)

    async def close(self) -> None:
        """Close this end."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            return  # it is closed either way


def join_blobs(blobs: list[bytes]) -> bytes:
    """Return several byte strings as one: each with its length before it."""
    return b"".join(part for blob in blobs for part in (_LENGTH.pack(len(blob)), blob))


def split_blobs(data: bytes) -> list[bytes]:
    """Return the byte strings of `join_blobs`.

    Raises:
        IpcError: they are cut off, or one is longer than an envelope or a body may be.
    """
    blobs: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise IpcError("ipc_blobs", "a length is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > min(len(data) - at, limits.REPORTS_MAX_BYTES):
            raise IpcError("ipc_blobs", f"{length} bytes announced")
        blobs.append(data[at : at + length])
        at += length
    return blobs
