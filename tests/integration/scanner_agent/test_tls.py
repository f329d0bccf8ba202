"""The agent's connection against a real TLS listener: what it trusts, what it says of what it does not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from redflag_ops.tls import ServerTls
from redflag_scanner_agent.connection import Call, Connection, open_session
from redflag_scanner_agent.errors import ServerUnreachableError
from redflag_scanner_agent.host_clock import HostClock
from redflag_scanner_agent.server_trust import ServerTrust
from redflag_wire.signing import SigningKey
from tests.support.certificates import Authority, Pair

Listener = Callable[[Pair | None], Awaitable[int]]


def an_hour_ago() -> datetime:
    """The clock of a server that does not mind what it serves."""
    return datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
async def listen(tmp_path: Path) -> AsyncIterator[Listener]:
    runners = []

    async def start(pair: Pair | None) -> int:
        app = web.Application()

        async def keys(_request: web.Request) -> web.Response:
            return web.json_response({"manifests": []})

        async def elsewhere(request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{request.scheme}://{request.host}/agent/v1/keys")

        app.router.add_get("/agent/v1/keys", keys)
        app.router.add_get("/agent/v1/elsewhere", elsewhere)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        runners.append(runner)
        context = None
        if pair is not None:
            files = pair.write(tmp_path / "served")
            context = ServerTls(*files, setting="REDFLAG_TEST_TLS", now=an_hour_ago).context
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


async def ask(origin: str, trust: ServerTrust, path: str = "/keys") -> dict[str, object]:
    async with open_session() as session:
        connection = Connection(session, origin, SigningKey.from_seed(bytes(32)), HostClock(), trust=trust)
        return await connection.call(Call(method="GET", path=path))


async def refused(origin: str, trust: ServerTrust) -> ServerUnreachableError:
    with pytest.raises(ServerUnreachableError) as caught:
        await ask(origin, trust)
    return caught.value


def trust_in(authority: Authority) -> ServerTrust:
    return ServerTrust("the authorities in ca.pem", lambda: authority.pem)


async def test_the_right_authority_and_name_are_enough(listen: Listener) -> None:
    authority = Authority()
    port = await listen(authority.issue("localhost"))
    assert await ask(f"https://localhost:{port}", trust_in(authority)) == {"manifests": []}


async def test_another_authority_is_refused_in_full_words(listen: Listener) -> None:
    port = await listen(Authority("Evil CA").issue("localhost", subject="not the one"))
    error = await refused(f"https://localhost:{port}", trust_in(Authority()))
    assert error.code == "tls_untrusted"
    for words in ("subject CN=not the one", "issuer CN=Evil CA", "SHA-256", "valid", "expected", "ca.pem"):
        assert words in error.detail


async def test_the_system_does_not_trust_a_private_authority(listen: Listener) -> None:
    port = await listen(Authority().issue("localhost"))
    error = await refused(f"https://localhost:{port}", ServerTrust("this system's authorities"))
    assert error.code == "tls_untrusted"
    assert "this system's authorities" in error.detail


async def test_another_name_and_an_old_certificate_are_refused(listen: Listener) -> None:
    authority = Authority()
    port = await listen(authority.issue("elsewhere.example.org"))
    error = await refused(f"https://localhost:{port}", trust_in(authority))
    assert error.code == "tls_wrong_name"
    assert "for elsewhere.example.org" in error.detail

    port = await listen(authority.issue("localhost", life=timedelta(minutes=-1)))
    assert (await refused(f"https://localhost:{port}", trust_in(authority))).code == "tls_expired"


async def test_a_server_without_tls_is_told_apart(listen: Listener) -> None:
    port = await listen(None)
    assert (await refused(f"https://localhost:{port}", trust_in(Authority()))).code == "tls_not_spoken"


async def test_an_authority_put_in_place_later_is_taken_over_at_the_next_try(listen: Listener) -> None:
    right = Authority()
    held = Authority().pem
    trust = ServerTrust("the authorities in ca.pem", lambda: held)
    port = await listen(right.issue("localhost"))
    await refused(f"https://localhost:{port}", trust)
    held = right.pem
    await refused(f"https://localhost:{port}", trust)  # this refusal has it read again
    assert await ask(f"https://localhost:{port}", trust) == {"manifests": []}


async def test_redirects_are_not_followed(listen: Listener) -> None:
    authority = Authority()
    port = await listen(authority.issue("localhost"))
    with pytest.raises(Exception, match="302"):
        await ask(f"https://localhost:{port}", trust_in(authority), "/elsewhere")
