"""A stand-in server, and the command line that speaks to it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from redflag.cli.app import register
from tests.unit.deploy.cli.stand_in import StandIn

KEY = "rfk_0123456789"


@dataclass
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


@pytest.fixture
def bare_cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command with nothing but what the test gives it."""

    def run(*arguments: str) -> Ended:
        app = App(name="redflag", result_action="return_value")
        register(app)
        try:
            code = app(list(arguments))
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ended(int(code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def cli(bare_cli: Cli, server: StandIn, tmp_path: Path) -> Cli:
    """Run a command against the stand-in."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "admin.key").write_text(KEY)
    found = {"api_url": server.url, "admin_key_file": str(data / "admin.key")}
    (data / "cli.json").write_text(json.dumps(found))

    def run(*arguments: str) -> Ended:
        return bare_cli(*arguments, "--data", str(data))

    return run
