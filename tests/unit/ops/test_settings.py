from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from redflag_ops.errors import ConfigurationError
from redflag_ops.settings import load_settings, parse_listen, read_secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("localhost:65535", ("localhost", 65535))],
)
def test_parse_listen_splits_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "7480", ":7480", "host:", "host:65536", "host:-1", "host:\u0663", "host:7 "]
)
def test_parse_listen_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not an address"):
        parse_listen(text)


def test_load_settings_names_the_variable_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Needed(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="REDFLAG_TEST_")
        url: str

    monkeypatch.delenv("REDFLAG_TEST_URL", raising=False)
    with pytest.raises(ConfigurationError, match="REDFLAG_TEST_URL"):
        load_settings(Needed)


def test_read_secret_strips_and_refuses_empty_or_missing_files(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("abc\n")
    assert read_secret(secret, "the key") == "abc"
    secret.write_text(" \n")
    with pytest.raises(ConfigurationError, match="the key"):
        read_secret(secret, "the key")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_secret(tmp_path / "absent", "the key")
