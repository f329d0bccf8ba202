"""The line that lets a host in, where hosts do not know the server's authority."""

import base64
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redflag_dashboard.api.tokens import create, install_authority, install_line
from redflag_dashboard.models.tokens import TokenRequest
from redflag_dashboard.rest.problems import ProblemError
from redflag_ops.errors import ConfigurationError
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.server_trust import trust_of
from redflag_wire.clock import SystemClock
from tests.support.certificates import Authority


def test_without_an_authority_the_line_names_server_and_token() -> None:
    assert shlex.split(install_line("https://rf.example.org", "rfe1_x")) == [
        "redflag-agent", "enroll", "--server", "https://rf.example.org", "--token", "rfe1_x",
    ]  # fmt: skip
    assert install_authority(None) is None


def test_the_agent_takes_the_authorities_of_the_line(tmp_path: Path) -> None:
    first, second = Authority("One"), Authority("Two")
    file = tmp_path / "ca.pem"
    file.write_bytes(first.pem + second.pem)
    line = shlex.split(install_line("https://rf.example.org", "rfe1_x", install_authority(file)))
    text = line[line.index("--ca-text") + 1]
    assert [base64.b64decode(part) for part in text.split(",")] == [first.der, second.der]
    with DurableDirectory(tmp_path) as files:
        assert len(trust_of(files, None, text).context.get_ca_certs()) == 2


def test_a_file_that_holds_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match="REDFLAG_GATEWAY_CA_FILE"):
        install_authority(tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="cannot read"):
        install_authority(tmp_path / "missing")


async def test_no_token_is_made_when_the_authority_of_its_line_vanished(tmp_path: Path) -> None:
    parts = SimpleNamespace(clock=SystemClock(), gateway_ca_file=tmp_path / "missing")
    call: Any = SimpleNamespace(body=TokenRequest(), parts=parts)
    with pytest.raises(ProblemError) as caught:
        await create(call)
    assert caught.value.code == "authority_unreadable"
    assert str(tmp_path / "missing") in caught.value.detail
