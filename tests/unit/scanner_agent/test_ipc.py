import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from redflag_scanner_agent.errors import HelperRefusedError, IpcError
from redflag_scanner_agent.helper_client import HelperClient
from redflag_scanner_agent.ipc import (
    BLOB_MAX_BYTES,
    HEADER_MAX_BYTES,
    Channel,
    Message,
    join_blobs,
    split_blobs,
)


async def channel(end: socket.socket) -> Channel:
    end.setblocking(False)
    return Channel(*await asyncio.open_unix_connection(sock=end))


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours, theirs = await channel(pair[0]), await channel(pair[1])
    yield ours, theirs
    await ours.close()
    await theirs.close()


async def test_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    await ends[0].send({"op": "x", "id": 1}, b"\0\1")
    assert await ends[1].receive() == Message({"op": "x", "id": 1}, b"\0\1")


async def test_closed_end_is_none(ends: tuple[Channel, Channel]) -> None:
    await ends[0].close()
    assert await ends[1].receive() is None


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">II", HEADER_MAX_BYTES + 1, 0),
        struct.pack(">II", 2, BLOB_MAX_BYTES + 1),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 1, 0) + b"x",
        struct.pack(">II", 13, 0) + b'{"a":1,"a":2}',
    ],
)
async def test_dishonest_message_is_refused(ends: tuple[Channel, Channel], raw: bytes) -> None:
    ends[0]._writer.write(raw)
    with pytest.raises(IpcError):
        await ends[1].receive()


async def test_message_out_of_bounds_is_not_sent(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(IpcError):
        await ends[0].send({}, b"\0" * (BLOB_MAX_BYTES + 1))


def test_blobs_come_apart_as_they_were_joined() -> None:
    blobs = [b"", b"one", b"two" * 1000]
    assert split_blobs(join_blobs(blobs)) == blobs
    for cut in (b"\0", b"\0\0\0\2x", b"\xff\xff\xff\xff"):
        with pytest.raises(IpcError):
            split_blobs(cut)


async def answered(end: Channel, **fields: Any) -> None:
    message = await end.receive()
    assert message is not None
    await end.send({"id": message.header["id"], **fields})


async def test_client_gets_its_answer_or_the_helper_s_refusal(ends: tuple[Channel, Channel]) -> None:
    client = HelperClient(ends[0])
    reading = asyncio.create_task(client.run())
    _, message = await asyncio.gather(answered(ends[1], version=3), client.request("manifest"))
    assert message.header["version"] == 3
    refusing = answered(ends[1], error={"code": "stale", "detail": "why"})
    _, refused = await asyncio.gather(refusing, client.request("x"), return_exceptions=True)
    assert isinstance(refused, HelperRefusedError)
    assert refused.code == "stale"
    await ends[1].send({"notice": "spool"})
    async with asyncio.timeout(5):
        await client.spool_changed.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_requests_end_with_the_helper(ends: tuple[Channel, Channel]) -> None:
    client = HelperClient(ends[0])
    reading = asyncio.create_task(client.run())
    waiting = asyncio.create_task(client.request("x"))
    await ends[1].receive()
    await ends[1].close()
    with pytest.raises(IpcError):
        await waiting
    assert client.gone.is_set()
    with pytest.raises(IpcError):
        await client.request("y")
    await reading


async def test_silent_helper_is_not_waited_for_for_ever(ends: tuple[Channel, Channel]) -> None:
    client = HelperClient(ends[0])
    with pytest.raises(IpcError) as caught:
        await client.request("x", deadline_s=0.01)
    assert caught.value.code == "helper_silent"
