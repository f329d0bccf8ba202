"""The helper's own code opens Unix sockets only (docs/protocol.md 7)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import redflag_scanner_agent

PACKAGE = Path(redflag_scanner_agent.__file__).parent
FORBIDDEN_MODULES = {"aiohttp", "http.client", "urllib.request", "ftplib", "smtplib", "requests", "httpx"}
FORBIDDEN_NAMES = {
    "AF_INET",
    "AF_INET6",
    "create_connection",
    "open_connection",
    "start_server",
    "create_server",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510 - the test looks at the code
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60
    )


def helper_modules() -> list[str]:
    code = "import sys, redflag_scanner_agent.helper\nprint('\\n'.join(sorted(sys.modules)))"
    done = run(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_helper_imports_no_way_into_the_network() -> None:
    assert FORBIDDEN_MODULES.isdisjoint(helper_modules())


def test_helper_s_modules_name_no_network_socket() -> None:
    own = [name for name in helper_modules() if name.startswith("redflag_scanner_agent.")]
    assert "redflag_scanner_agent.guard" in own
    for name in own:
        path = PACKAGE.joinpath(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            found = (
                node.attr
                if isinstance(node, ast.Attribute)
                else node.id
                if isinstance(node, ast.Name)
                else ""
            )
            assert found not in FORBIDDEN_NAMES, f"{file}: {found}"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"])
def test_helper_process_cannot_open_a_network_socket(family: str) -> None:
    code = (
        "import socket\nfrom redflag_scanner_agent.helper import only_unix_sockets\nonly_unix_sockets()\n"
        f"socket.socket(socket.AF_UNIX).close()\nsocket.socket(socket.{family}, socket.SOCK_RAW)"
    )
    done = run(code)
    assert done.returncode == 1
    assert "the helper opens Unix sockets only" in done.stderr


@pytest.mark.parametrize(
    "name", ["guard", "journal", "spool", "cadence", "host_policy", "trust", "executor", "actions"]
)
def test_rules_import_no_network_library(name: str) -> None:
    done = run(
        f"import sys, redflag_scanner_agent.{name}\n"
        "assert not {'aiohttp', 'nats', 'sqlmodel'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_no_flag_or_setting_switches_verification_off() -> None:
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        for word in ("insecure", "verify=False", "ssl=False", "CERT_NONE", "check_hostname"):
            assert word not in text, f"{file}: {word}"
