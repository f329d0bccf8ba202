"""The command line and an API behind TLS: what it trusts, and that nothing turns that off."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

import redflag.cli
from redflag.cli.connection import Api
from redflag.cli.exit_codes import ExitCode
from redflag.cli.find_server import Server, find_server
from redflag.cli.options import Common
from redflag.cli.problems import CliError
from redflag_ops.tls import ServerTls
from tests.support.certificates import Authority
from tests.unit.deploy.cli.stand_in import StandIn


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def url(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    files = authority.issue("localhost").write(tmp_path / "served")
    tls = ServerTls(*files, setting="REDFLAG_TEST_TLS", now=lambda: datetime.now(UTC))
    app = web.Application()

    async def hosts(_request: web.Request) -> web.Response:
        return web.json_response({"items": []})

    app.router.add_get("/api/v1/hosts", hosts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
    yield f"https://localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


async def ask(url: str, ca: Path | None) -> object:
    async with Api(Server(url, "rfk_x", "test", ca=ca)) as api:
        return await api.get("/hosts")


async def test_a_server_without_tls_is_said_to_be_one(server: StandIn) -> None:
    with pytest.raises(CliError) as caught:
        await ask(server.url.replace("http://", "https://"), None)
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "does not speak TLS as it should" in caught.value.message
    assert "not permitted" not in caught.value.message


async def test_the_named_authority_is_trusted_and_no_other(
    url: str, tmp_path: Path, authority: Authority
) -> None:
    right, wrong = tmp_path / "right.pem", tmp_path / "wrong.pem"
    right.write_bytes(authority.pem)
    wrong.write_bytes(Authority().pem)
    assert await ask(url, right) == {"items": []}
    for ca in (wrong, None):
        with pytest.raises(CliError) as caught:
            await ask(url, ca)
        assert caught.value.exit_code is ExitCode.UNREACHABLE
        assert "not trusted" in caught.value.message
        assert "--ca FILE" in "".join(caught.value.hints)


async def test_a_file_without_an_authority_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing")
    for name, words in (("empty", "no certificate"), ("missing", "cannot read")):
        with pytest.raises(CliError, match=words) as caught:
            Api(Server("https://localhost:1", "k", "test", ca=tmp_path / name))
        assert caught.value.exit_code is ExitCode.USAGE


def test_the_authority_comes_from_the_option_the_environment_or_what_up_left(tmp_path: Path) -> None:
    named = {"REDFLAG_API_URL": "https://x.example", "REDFLAG_API_KEY": "rfk_x", "REDFLAG_API_CA": "/env.pem"}
    assert find_server(Common(), named).ca == Path("/env.pem")
    assert find_server(Common(ca=Path("/option.pem")), named).ca == Path("/option.pem")
    (tmp_path / "admin.key").write_text("rfk_local")
    found = {
        "api_url": "https://x.example",
        "admin_key_file": str(tmp_path / "admin.key"),
        "ca_file": "/up.pem",
    }
    (tmp_path / "cli.json").write_text(json.dumps(found))
    assert find_server(Common(data=tmp_path), {}).ca == Path("/up.pem")
    assert find_server(Common(data=tmp_path, ca=Path("/option.pem")), {}).ca == Path("/option.pem")


def test_nothing_turns_the_verification_off() -> None:
    code = re.compile(
        r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=|verify_mode|_create_unverified|verify\s*=\s*False|ssl\s*=\s*False"
    )
    option = re.compile(r"insecure|no_verif|skip_verif|trust_all|no_tls|no_check|unsafe", re.IGNORECASE)
    root = Path(redflag.cli.__file__).parents[1]
    for path in root.rglob("*.py"):
        text = path.read_text()
        assert not code.search(text), path
        if path.parent.name == "cli" or path.name == "main.py":
            assert not option.search(text), path
