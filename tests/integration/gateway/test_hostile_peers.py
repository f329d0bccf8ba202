"""The gateway against peers that are slow, silent, greedy or many; spoken to over raw sockets."""

import asyncio
import errno
import gc
import gzip
import json
import resource
import signal
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from redflag_broker_config.subjects import SERVICE_ENROLL
from redflag_gateway import body, guard, listener
from redflag_wire.report_framing import frame_reports
from redflag_wire.signing import SigningKey
from tests.integration.gateway.conftest import Bench, RunningGateway, eventually
from tests.integration.gateway.doubles import REPORTS, AgentDouble
from tests.integration.gateway.test_process import _settings, _start
from tests.integration.gateway.test_reports_and_services import _enrolment
from tests.support.certificates import Authority
from tests.support.processes import free_port

ANSWER_DEADLINE_S = 20
QUICK_S = 0.3
KEYS = b"GET /agent/v1/keys HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /agent/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Raw:
    """A connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers in lower case, and body of the next answer."""
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            return (
                int(head[0].split()[1]),
                headers,
                await self.reader.readexactly(int(headers["content-length"])),
            )

    async def rest(self) -> bytes:
        """Return what comes until the gateway closes the connection."""
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            with suppress(ConnectionResetError):
                return await self.reader.read()
            return b""


@asynccontextmanager
async def raw(running: RunningGateway) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.origin.rpartition(":")[2]))
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a fraction of a second."""
    for name in ("FIRST_S", "HEAD_S", "STALL_S", "CLOSE_S"):
        monkeypatch.setattr(guard, name, QUICK_S)
    monkeypatch.setattr(guard, "SWEEP_EVERY_S", 0.02)
    monkeypatch.setattr(body, "GRACE_S", QUICK_S)


def signed(agent: AgentDouble, method: str, path: str, data: bytes = b"", **options: Any) -> bytes:
    """Return the head of a well signed request."""
    headers = agent.sign(method, path, data, **options)
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    if data:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.usefixtures("quick")
async def test_silent_and_slow_heads_are_ended_and_others_are_served(bench: Bench) -> None:
    running = await bench.start_gateway()
    await bench.ready(running)
    agent = bench.agent(running)
    async with raw(running) as silent, raw(running) as drip, raw(running) as blank:
        await drip.send(b"GET /agent/v1/keys HTTP/1.1\r\nA: ")
        await blank.send(b"\r\n\r\n")
        assert await agent.poll() == []
        assert await silent.rest() == b""
        assert (await drip.rest()).startswith(b"HTTP/1.1 408 ")
        await blank.rest()
    assert running.metric("connections_ended_total", reason="slow_head") == 1
    assert running.metric("connections_ended_total", reason="silent") == 2


@pytest.mark.usefixtures("quick")
async def test_the_second_head_of_a_connection_has_its_deadline_too(bench: Bench) -> None:
    running = await bench.start_gateway()
    await bench.ready(running)
    async with raw(running) as peer:
        await peer.send(KEYS)
        assert (await peer.answer())[0] == 200
        await peer.send(KEYS[:10])
        assert (await peer.rest()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("quick")
async def test_a_body_that_does_not_keep_pace_is_refused(bench: Bench) -> None:
    running = await bench.start_gateway()
    await bench.ready(running)
    async with raw(running) as peer:
        await peer.send(POST + b"Content-Length: 1000\r\n\r\nhalf")
        status, headers, text = await peer.answer()
        assert (status, json.loads(text)["code"]) == (408, "slow_body")
        assert headers["connection"] == "close"
    async with raw(running) as nothing:
        await nothing.send(POST + b"Content-Length: 1000\r\n\r\n")
        assert (await nothing.answer())[0] == 408
    assert running.metric("refusals_total", code="slow_body") == 2


async def test_heads_beyond_their_bounds_are_refused(gateway: RunningGateway) -> None:
    async with raw(gateway) as large, raw(gateway) as many, raw(gateway) as endless:
        await large.send(
            KEYS[:-2] + b"".join(b"A%d: %s\r\n" % (n, b"x" * 1_000) for n in range(17)) + b"\r\n"
        )
        assert (await large.rest()).startswith(b"HTTP/1.1 431 ")
        await many.send(KEYS[:-2] + b"".join(b"A%d: x\r\n" % n for n in range(65)) + b"\r\n")
        assert b" 400 Bad Request\r\n" in await many.rest()
        await endless.send(b"GET /" + b"a" * 20_000)
        assert (await endless.rest()).startswith(b"HTTP/1.1 431 ")
    assert gateway.metric("connections_ended_total", reason="large_head") == 2


async def test_what_is_no_http_is_counted_and_leaves_no_stack_in_the_log(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    junk = (b"\x00\x03\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
    twice = b"Content-Length: 5\r\n"
    smuggled = (
        KEYS[:-2] + twice + b"Transfer-Encoding: chunked\r\n\r\n",
        KEYS[:-2] + twice + twice + b"\r\n",
    )
    for data in (*junk, *smuggled):
        async with raw(gateway) as peer:
            await peer.send(data)
            answer = await peer.rest()
            assert b" 400 " in answer[:20]
            assert b"Server: redflag\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "not_http"
    # aiohttp says nothing at all about the first.
    assert gateway.metric("refusals_total", code="not_http") == 4
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"OPTIONS * HTTP/1.1\r\n", 404, "not_found"),
        (b"CONNECT a:443 HTTP/1.1\r\n", 404, "not_found"),
        (b"GET /agent/v1/keys HTTP/1.1\r\nExpect: 300\r\n", 417, "not_served"),
    ],
)
async def test_what_no_route_can_have_is_answered_like_all_else_and_ends_the_connection(
    gateway: RunningGateway, line: bytes, status: int, code: str
) -> None:
    async with raw(gateway) as peer:
        await peer.send(line + b"Host: x\r\n\r\n" + KEYS)
        found, headers, text = await peer.answer()
        assert (found, json.loads(text)["code"]) == (status, code)
        assert (headers["server"], headers["connection"]) == ("redflag", "close")
        assert await peer.rest() == b""


async def test_bodies_beyond_their_bounds_are_refused_unread(bench: Bench, gateway: RunningGateway) -> None:
    async with raw(gateway) as peer:
        await peer.send(POST + b"Content-Length: 65537\r\n\r\n")
        status, headers, text = await peer.answer()
        assert (status, json.loads(text)["code"], headers["connection"]) == (413, "too_large", "close")
    async with raw(gateway) as chunked:
        await chunked.send(
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 65_535 + b"\r\nff\r\n"
        )
        await chunked.send(b"y" * 255 + b"\r\n0\r\n\r\n")
        assert (await chunked.answer())[0] == 413
    agent = bench.agent(gateway)
    await agent.poll()
    reply = await agent.call("POST", "/reports", b"x" * (2 * 1024 * 1024 + 1), content_type=REPORTS)
    assert reply.status == 413


async def test_a_bomb_is_refused_unopened_and_the_loop_stays_free(
    bench: Bench, gateway: RunningGateway
) -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024), 9)
    assert len(bomb) < 1024 * 1024
    agent, other = bench.agent(gateway), bench.agent(gateway)
    await agent.poll()
    longest = 0.0
    done = asyncio.Event()

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while not done.is_set():
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)

    watching = asyncio.create_task(watch())
    path = "/agent/v1/reports"
    headers = {**agent.sign("POST", path, bomb, content_type=REPORTS), "Content-Encoding": "gzip"}
    encoded = await agent.send("POST", path, headers, bomb)
    assert (encoded.status, encoded.code) == (415, "encoded")
    assert await other.poll() == []
    # Inside a report a compressed body travels on as it is.
    framed = frame_reports([(b"{}", bomb)])
    reply = await agent.call("POST", "/reports", framed, content_type=REPORTS)
    assert reply.status in {202, 400}
    done.set()
    await watching
    assert longest < 0.25  # opening it takes more than a second
    assert gateway.metric("refusals_total", code="encoded") == 1


async def test_one_address_cannot_take_the_places_of_agents_that_signed(bench: Bench) -> None:
    running = await bench.start_gateway(gateway_unproven_per_address=2)
    await bench.ready(running)
    agent = bench.agent(running)
    assert await agent.poll() == []  # its connection counts no more
    async with raw(running) as first, raw(running):
        await eventually(lambda: running.gateway.doorkeeper.unproven == 2, "two silent connections")
        async with raw(running) as third:
            refused = await third.rest()
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in refused
        assert await agent.poll() == []
        first.writer.close()
        await eventually(lambda: running.gateway.doorkeeper.unproven == 1, "a place given back")
        async with raw(running) as again:
            await again.send(KEYS)
            assert (await again.answer())[0] == 200
    assert running.metric("connections_refused_total", reason="address") == 1


async def test_a_connection_without_a_signature_has_so_many_answers(gateway: RunningGateway) -> None:
    async with raw(gateway) as peer:
        for number in range(guard.UNPROVEN_ANSWERS_MAX):
            await peer.send(KEYS)
            status, headers, _text = await peer.answer()
            assert status == 200
            assert ("connection" in headers) is (number == guard.UNPROVEN_ANSWERS_MAX - 1)
        assert await peer.rest() == b""


async def test_a_flood_of_connections_leaves_the_gateway_and_its_agents_alive(bench: Bench) -> None:
    settings = _settings(bench, free_port())
    process = await _start(settings)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (600, 600))
    origin = settings["REDFLAG_GATEWAY_ORIGIN"]
    ops = f"http://{settings['REDFLAG_OPS_LISTEN']}"

    async def get(url: str) -> str:
        try:
            async with bench.http.get(url) as answer:
                return (await answer.text()) if answer.status == 200 else ""
        except (OSError, asyncio.IncompleteReadError):
            return ""

    open_ones: list[socket.socket] = []
    try:
        await eventually(lambda: get(ops + "/readyz"), "readiness")
        agent = AgentDouble(bench.http, origin, "", *_identity(bench))
        agent.token = bench.dispatcher.token(agent.agent, agent.key)
        assert await agent.poll() == []
        port = int(origin.rpartition(":")[2])
        open_ones = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(700)]
        metrics = await get(ops + "/metrics")
        assert 'redflag_gateway_connections_refused_total{reason="all_taken"}' in metrics
        assert await agent.poll() == []  # it has its connection
        for one in open_ones[:600]:
            one.close()

        async def newcomer() -> bool:
            async with aiohttp.ClientSession() as fresh:
                with suppress(OSError, aiohttp.ClientError):
                    async with fresh.get(origin + "/agent/v1/keys") as answer:
                        return answer.status == 200
            return False

        await eventually(newcomer, "an answer to a newcomer")
    finally:
        for one in open_ones:
            one.close()
        process.send_signal(signal.SIGTERM)
        _out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert len(err.splitlines()) < 50


def _identity(bench: Bench) -> tuple[Any, SigningKey]:
    made = bench.agent(RunningGateway(None, "http://x", None, asyncio.Event(), None))  # type: ignore[arg-type]
    return made.agent, made.key


async def test_no_room_for_open_files_stops_the_listening_for_a_moment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await bench.start_gateway()
    await bench.ready(running)
    monkeypatch.setattr(listener, "NO_ROOM_PAUSE_S", 0.1)
    real, until = socket.socket.accept, asyncio.get_running_loop().time() + QUICK_S

    def accept(self: socket.socket) -> Any:
        if asyncio.get_running_loop().time() < until:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    async with raw(running) as peer:
        await peer.send(KEYS)
        assert (await peer.answer())[0] == 200
    assert 1 <= running.metric("connections_refused_total", reason="no_open_files") <= 4


async def test_an_agent_that_asks_too_often_waits_and_others_do_not(bench: Bench) -> None:
    running = await bench.start_gateway(gateway_agent_rate=0.5, gateway_agent_burst=4)
    await bench.ready(running)
    agent, other = bench.agent(running), bench.agent(running)
    for _ in range(4):
        assert (await agent.call("GET", "/commands?wait=0")).status == 200
    refused = await agent.call("GET", "/commands?wait=0")
    assert (refused.status, refused.code) == (429, "too_often")
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    assert (await other.call("GET", "/commands?wait=0")).status == 200
    assert running.metric("refusals_total", code="too_often") == 1


async def test_nobody_without_the_key_uses_up_what_an_agent_may_ask(bench: Bench) -> None:
    """Not even somebody who stole its token."""
    running = await bench.start_gateway(gateway_agent_rate=0.1, gateway_agent_burst=3)
    await bench.ready(running)
    agent = bench.agent(running)
    assert (await agent.call("GET", "/commands?wait=0")).status == 200
    thief = AgentDouble(bench.http, running.origin, agent.token, agent.agent, SigningKey.from_seed(bytes(32)))
    thief.nonce = agent.nonce
    for _ in range(20):
        refused = await thief.call("GET", "/commands?wait=0")
        assert refused.status == 401
        assert refused.headers["Connection"] == "close"
    assert (await agent.call("GET", "/commands?wait=0")).status == 200


async def test_stop_answers_503_to_what_is_new_and_ends_what_is_in_hand(bench: Bench) -> None:
    running = await bench.start_gateway()
    await bench.ready(running)
    agent = bench.agent(running)
    await agent.poll()
    data = json.dumps({"handles": []}).encode()
    async with raw(running) as in_hand, raw(running) as later:
        await later.send(KEYS)
        assert (await later.answer())[0] == 200
        await in_hand.send(signed(agent, "POST", "/agent/v1/commands/ack", data) + data[:3])
        await eventually(lambda: running.gateway._edge._in_hand == 1, "the request in hand")
        running.stop.set()
        await eventually(lambda: running.gateway._edge._draining, "the drain")
        await later.send(KEYS)
        status, headers, text = await later.answer()
        assert (status, json.loads(text)["code"]) == (503, "stopping")
        assert (headers["retry-after"], headers["connection"]) == ("2", "close")
        await in_hand.send(data[3:])
        status, headers, text = await in_hand.answer()
        assert (status, json.loads(text), headers["connection"]) == (200, {"acked": 0}, "close")
    await running.serving


async def test_refusals_do_not_flood_the_log(bench: Bench, gateway: RunningGateway) -> None:
    for _ in range(300):
        async with raw(gateway) as peer:
            await peer.send(b"GET /agent/v1/commands HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await peer.answer())[1]["connection"] == "close"
    assert gateway.metric("refusals_total", code="unsigned") == 300
    assert gateway.metric("records_dropped_total") > 0


@pytest.mark.parametrize(("behind_proxy", "named"), [(True, "192.0.2.9"), (False, "127.0.0.1")])
async def test_a_peer_is_named_by_a_proxy_that_was_announced_and_by_nobody_else(
    bench: Bench, behind_proxy: bool, named: str
) -> None:
    running = await bench.start_gateway(gateway_behind_proxy=behind_proxy)
    await bench.ready(running)
    asked = await bench.dispatcher.serve(SERVICE_ENROLL, [{"status": 200, "body": {"enrolled": {}}}])
    agent = bench.agent(running)
    challenge = (await agent.send("GET", "/agent/v1/enroll/challenge", {})).body["challenge"]
    headers = {"Content-Type": "application/json", "X-Forwarded-For": "203.0.113.5, 192.0.2.9"}
    reply = await agent.send("POST", "/agent/v1/enroll", headers, _enrolment(bench, challenge).to_bytes())
    assert reply.status == 200
    assert (await asked.get())["peer"] == named


async def test_with_tls_a_peer_that_does_not_shake_hands_gets_no_further(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_S", QUICK_S)
    authority = Authority()
    cert, key = authority.issue("localhost", "127.0.0.1").write(tmp_path / "tls")
    running = await bench.start_gateway(gateway_tls_cert=cert, gateway_tls_key=key)
    await bench.ready(running)
    port = int(running.origin.rpartition(":")[2])
    async with raw(running) as silent, raw(running) as plain:
        await plain.send(KEYS)
        await silent.rest()
        await plain.rest()
    await eventually(
        lambda: running.metric("connections_refused_total", reason="handshake") == 2, "both counted"
    )
    context = ssl.create_default_context(cadata=authority.der)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    peer = Raw(reader, writer)
    await peer.send(KEYS)
    assert (await peer.answer())[0] == 200
    assert all(size <= 16 * 1024 for size in _tls_buffers())  # each idle connection holds one
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: running.gateway.doorkeeper.connections == 0, "all places given back")


def _tls_buffers() -> list[int]:
    """Return the buffers of the TLS connections that agents stand on."""
    found = [
        len(one._ssl_buffer)  # type: ignore[attr-defined]
        for one in gc.get_objects()
        if isinstance(one, sslproto.SSLProtocol) and isinstance(one._app_protocol, guard.Guard)
    ]
    assert found
    return found
