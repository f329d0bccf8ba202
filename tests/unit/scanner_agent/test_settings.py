from pathlib import Path

import pytest

from redflag_ops.errors import ConfigurationError
from redflag_ops.settings import load_settings
from redflag_scanner_agent.settings import AgentSettings, parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://redflag.example.org", "https://redflag.example.org"),
        ("https://RedFlag.example.org:443/", "https://redflag.example.org"),
        ("https://redflag.example.org:7480", "https://redflag.example.org:7480"),
        ("http://127.0.0.1:7480", "http://127.0.0.1:7480"),
        ("http://[::1]:7480/", "http://[::1]:7480"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_origin_has_one_spelling(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "http://redflag.example.org",
        "http://10.0.0.1",
        "http://127.0.0.1.example.org",
        "ftp://localhost",
        "redflag.example.org",
        "https://",
        "https://user:pw@redflag.example.org",
        "https://redflag.example.org/path",
        "https://redflag.example.org?x=1",
        "https://redflag.example.org:port",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_origin(text)


def test_wrong_server_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDFLAG_AGENT_SERVER", "http://redflag.example.org")
    with pytest.raises(ConfigurationError, match="REDFLAG_AGENT_SERVER"):
        load_settings(AgentSettings)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDFLAG_AGENT_STATE_DIR", "data/agent")
    settings = load_settings(AgentSettings)
    assert settings.helper_dir == Path.cwd() / "data" / "agent" / "helper"


def test_there_is_no_switch_for_unverified_tls() -> None:
    assert not [name for name in AgentSettings.model_fields if "insecure" in name or "verify" in name]
