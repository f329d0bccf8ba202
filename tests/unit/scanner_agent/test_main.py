import json
import logging
from pathlib import Path

import pytest

from redflag_scanner_agent import local_view, main
from redflag_scanner_agent.errors import (
    EXIT_PIPE_CLOSED,
    EXIT_USAGE,
    EnrolmentRefusedError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.packages.errors import LockHeldError, PackageManagerError
from tests.support.fake_manager import FakeManager


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDFLAG_AGENT_STATE_DIR", str(tmp_path / "agent"))
    monkeypatch.delenv("REDFLAG_AGENT_SERVER", raising=False)
    monkeypatch.delenv("REDFLAG_AGENT_TOKEN_FILE", raising=False)
    monkeypatch.setattr(main, "configure", lambda *_, **__: None)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> FakeManager:
    made = FakeManager()
    monkeypatch.setattr(local_view, "available_managers", lambda **_: {"fake": made})
    return made


@pytest.mark.parametrize("command", ["scan", "list-updates"])
def test_updates_are_shown_without_server_or_enrolment(
    manager: FakeManager, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main.main([command]) == 0
    out = capsys.readouterr().out
    assert "hello" in out
    assert "2 updates available, 0 held, kept back or phased" in out
    assert manager.scans == 1


def test_updates_as_json(manager: FakeManager, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["list-updates", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [update["name"] for update in found["inventories"][0]["updates"]] == ["hello", "world"]
    assert manager.scans == 1


@pytest.mark.parametrize("error", [LockHeldError("held by apt", holder="apt"), PackageManagerError("broken")])
def test_manager_that_fails_is_one_line(
    manager: FakeManager, capsys: pytest.CaptureFixture[str], error: PackageManagerError
) -> None:
    manager.fail_with = error
    assert main.main(["list-updates"]) == 6
    assert capsys.readouterr().err == f"redflag-agent: {error.detail} ({error.code})\n"


def test_host_without_a_manager_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_view, "available_managers", lambda **_: {})
    assert main.main(["scan"]) == 6
    assert "no package manager" in capsys.readouterr().err


def test_status_of_a_host_that_is_not_enrolled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["enrolled"] is False
    assert main.main(["status"]) == 0
    assert "enrolled          no" in capsys.readouterr().out


def test_run_without_identity_or_token_is_exit_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDFLAG_AGENT_SERVER", "http://127.0.0.1:9")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(["run"]) == 3
    assert "not enrolled" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run"], ["enroll", "--token", "x"]])
def test_missing_server_is_exit_2_and_names_the_setting(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("redflag-agent: ")
    assert "REDFLAG_AGENT_SERVER" in err
    assert ("--server URL" in err) == (arguments[0] == "enroll")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("http://10.1.1.1:80", "http is for 127.0.0.1, ::1 and localhost only; use https"),
        ("gopher://x", "the address is written as https://redflag.example.org or"),
        ("https://x:port", "the address is written as https://redflag.example.org or"),
    ],
)
def test_wrong_server_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: str, text: str
) -> None:
    assert main.main(["enroll", "--server", server, "--token", "x"]) == 2
    assert capsys.readouterr().err.startswith(f"redflag-agent: --server: {text}")
    monkeypatch.setenv("REDFLAG_AGENT_SERVER", server)
    assert main.main(["enroll", "--token", "x"]) == 2
    assert capsys.readouterr().err.startswith(f"redflag-agent: REDFLAG_AGENT_SERVER: {text}")


def test_wrong_use_begins_as_every_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["enroll", "--nonsense"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("redflag-agent: ")


@pytest.mark.parametrize(
    ("arguments", "log"),
    [
        (["run"], ("json", logging.INFO)),
        (["enroll", "--token", "x"], ("console", logging.WARNING)),
        (["status"], ("console", logging.WARNING)),
        (["list-updates"], ("console", logging.WARNING)),
        (["scan"], ("console", logging.WARNING)),
    ],
)
def test_only_run_logs_for_machines(
    monkeypatch: pytest.MonkeyPatch, manager: FakeManager, arguments: list[str], log: tuple[str, int]
) -> None:
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(main, "configure", lambda _, log_format, *, level: seen.append((log_format, level)))
    main.main(arguments)
    assert seen == [log]


def test_what_is_no_token_is_exit_5_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["enroll", "--server", "http://127.0.0.1:9", "--token", "rfe1_secret"]) == 5
    err = capsys.readouterr().err
    assert "not an enrolment token" in err
    assert "rfe1_secret" not in err


def test_missing_token_file_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["enroll", "--server", "http://127.0.0.1:9", "--token-file", str(tmp_path / "none")]
    assert main.main(arguments) == 2
    assert "none" in capsys.readouterr().err


def test_exit_codes_are_those_of_redflag_where_both_have_one() -> None:
    # The server's packages are not there in `make test-agent`.
    ExitCode = pytest.importorskip("redflag.cli.exit_codes").ExitCode  # noqa: N806
    assert ServerUnreachableError.exit_code == ExitCode.UNREACHABLE
    assert EnrolmentRefusedError.exit_code == ExitCode.REFUSED
    assert RequestRefusedByServerError.exit_code == ExitCode.REFUSED
    assert (EXIT_USAGE, EXIT_PIPE_CLOSED) == (ExitCode.USAGE, ExitCode.PIPE_CLOSED)


def test_exit_codes_keep_their_meaning() -> None:
    assert (ServerUnreachableError.exit_code, EnrolmentRefusedError.exit_code) == (4, 5)


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "4 server not reached, 5 refused by the server" in text
