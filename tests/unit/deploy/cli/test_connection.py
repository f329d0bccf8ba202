"""What the client does with answers nobody wants."""

import asyncio
import socket

import pytest
from aiohttp import web

from redflag.cli import connection
from redflag.cli.connection import Api
from redflag.cli.find_server import Server
from redflag.cli.problems import ApiProblemError, CliError, ServerUnreachableError
from tests.unit.deploy.cli.stand_in import StandIn


async def get(server: StandIn, path: str = "/x") -> object:
    async with Api(Server(server.url, "rfk_x", "test")) as api:
        return await api.get(path)


async def test_the_key_and_a_bounded_question_are_sent(server: StandIn) -> None:
    server.answer("GET /x", {"a": 1})
    assert await get(server) == {"a": 1}
    assert server.asked[0].headers["Authorization"] == "Bearer rfk_x"


async def test_a_redirect_is_not_followed(server: StandIn) -> None:
    server.answer("GET /x", {}, 302, Location=f"{server.url}/api/v1/elsewhere")
    with pytest.raises(ServerUnreachableError):
        await get(server)
    assert [one.path for one in server.asked] == ["/x"]


async def test_a_proxy_of_the_environment_does_not_get_the_key(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answer("GET /x", {"a": 1})
    assert await get(server) == {"a": 1}


@pytest.mark.parametrize("text", ["", "<html>", "[1]", '"x"', "null", "[" * 100_000])
async def test_what_is_no_answer_of_the_api_is_said_to_be_none(server: StandIn, text: str) -> None:
    server.answers["GET /x"] = [lambda _request: web.Response(text=text)]
    with pytest.raises(ServerUnreachableError, match="does not answer as RedFlag"):
        await get(server)


async def test_an_error_page_of_a_proxy_is_an_error_with_its_status(server: StandIn) -> None:
    server.answers["GET /x"] = [lambda _request: web.Response(status=502, text="<html>bad gateway")]
    with pytest.raises(ApiProblemError, match="502"):
        await get(server)


async def test_an_endless_answer_is_cut(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_MAX_BYTES", 1000)
    server.answer("GET /x", {"a": "x" * 2000})
    with pytest.raises(ServerUnreachableError, match="more than 1000 bytes"):
        await get(server)


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DEADLINE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = Server(f"http://127.0.0.1:{silent.getsockname()[1]}", "k", "test")
        async with Api(server) as api:
            with pytest.raises(ServerUnreachableError, match=r"within 0\.2 s"):
                await api.get("/x")


async def test_a_change_is_sent_again_with_the_same_key_when_the_connection_breaks() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}")
        seen.append(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key")))
        if len(seen) == 2:
            writer.write(b'HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\nConnection: close\r\n\r\n{"a": 1}')
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        async with Api(Server(f"http://127.0.0.1:{port}", "k", "test")) as api:
            assert await api.post("/x", {"b": 1}) == {"a": 1}
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_two_changes_have_two_keys(server: StandIn) -> None:
    server.answer("POST /x", {"a": 1})
    async with Api(Server(server.url, "k", "test")) as api:
        await api.post("/x", {"b": None, "c": 1})
        await api.post("/x", {"c": 1})
    first, second = server.asked
    assert first.body == {"c": 1}
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


async def test_pages_are_followed_to_the_limit_and_end_when_a_page_is_empty(server: StandIn) -> None:
    server.answer("GET /x", {"items": [1, 2], "next": "n1", "total": 5, "counts": {"a": 1}})
    server.answer("GET /x", {"items": [3, 4], "next": "n2", "total": 5})
    server.answer("GET /x", {"items": [], "next": "n2", "total": 5})
    async with Api(Server(server.url, "k", "test")) as api:
        page = await api.pages("/x", {"q": "a b&c"}, limit=100)
    assert page == {"items": [1, 2, 3, 4], "next": "n2", "total": 5, "counts": {"a": 1}}
    assert [one.query.get("cursor") for one in server.asked] == [None, "n1", "n2"]
    assert {one.query["q"] for one in server.asked} == {"a b&c"}


async def test_no_server_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    async with Api(Server(f"http://127.0.0.1:{port}", "k", "test")) as api:
        with pytest.raises(CliError, match="cannot be reached: Connection refused"):
            await api.get("/x")
