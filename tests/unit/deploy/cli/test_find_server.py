import json
import os
from pathlib import Path

import pytest

from redflag.cli.exit_codes import ExitCode
from redflag.cli.find_server import check_url, find_server
from redflag.cli.options import Common
from redflag.cli.problems import CliError

URL = "http://127.0.0.1:7481"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "admin.key").write_text("rfk_local\n")
    (directory / "cli.json").write_text(
        json.dumps({"api_url": URL, "admin_key_file": str(directory / "admin.key")})
    )
    return directory


def refused(common: Common, environment: dict[str, str]) -> CliError:
    with pytest.raises(CliError) as caught:
        find_server(common, environment)
    return caught.value


def test_a_data_directory_gives_address_and_key(data: Path) -> None:
    server = find_server(Common(data=data), {})
    assert (server.api_url, server.key) == (URL, "rfk_local")
    assert "rfk_local" not in repr(server)


def test_the_directory_used_last_is_the_default(data: Path, tmp_path: Path) -> None:
    pointer = tmp_path / "config" / "redflag" / "current"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(f"{data}\n")
    assert find_server(Common(), {}).key == "rfk_local"


def test_options_go_before_the_environment_and_that_before_the_directory(data: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "other.key"
    key_file.write_text("rfk_file")
    environment = {"REDFLAG_API_URL": "https://env.example", "REDFLAG_API_KEY": "rfk_env"}
    assert find_server(Common(), environment).api_url == "https://env.example"
    assert find_server(Common(), environment).key == "rfk_env"
    asked = find_server(Common(api_url="https://asked.example/", api_key_file=key_file), environment)
    assert (asked.api_url, asked.key) == ("https://asked.example", "rfk_file")
    named = find_server(Common(data=data), environment)
    assert (named.api_url, named.key) == (URL, "rfk_local")
    environment = {"REDFLAG_API_URL": "https://env.example", "REDFLAG_API_KEY_FILE": str(key_file)}
    assert find_server(Common(), environment).key == "rfk_file"


def test_the_local_key_goes_to_no_other_address(data: Path, tmp_path: Path) -> None:
    pointer = tmp_path / "config" / "redflag" / "current"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(str(data))
    assert refused(Common(api_url="https://other.example"), {}).exit_code is ExitCode.USAGE
    assert refused(Common(data=data, api_url="https://other.example"), {}).exit_code is ExitCode.USAGE
    assert refused(Common(), {"REDFLAG_API_URL": "https://other.example"}).exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.5:7481", "http://redflag.example", "http://127.0.0.1.evil.example", "http://[::2]:1",
     "ftp://127.0.0.1", "127.0.0.1:7481", "", "https://", "https://a:b@redflag.example", "http://0.0.0.0:1",
     "https://redflag.example?x=1", "https://redflag.example#x", "http://127.0.0.1:99999"],
)  # fmt: skip
def test_addresses_that_would_show_the_key_or_are_none_are_refused(url: str) -> None:
    with pytest.raises(CliError) as caught:
        check_url(url)
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_wrong_address_is_said_before_a_missing_key() -> None:
    assert "'ftp://x'" in refused(Common(api_url="ftp://x"), {}).message
    assert "'ftp://x'" in refused(Common(), {"REDFLAG_API_URL": "ftp://x", "REDFLAG_API_KEY": ""}).message


@pytest.mark.parametrize(
    "url",
    [URL, "http://localhost:1", "http://[::1]:7481", "http://127.8.8.8", "https://redflag.example/base"],
)
def test_loopback_and_https_are_taken(url: str) -> None:
    assert check_url(f"{url}/") == url


def test_nothing_anywhere_says_what_to_start(tmp_path: Path) -> None:
    error = refused(Common(data=tmp_path / "none"), {})
    assert error.exit_code is ExitCode.UNREACHABLE
    assert any("redflag up" in hint for hint in error.hints)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00", '{"api_url": "http://127.0.0.1:1"}'])
def test_a_damaged_file_is_named(data: Path, content: str) -> None:
    (data / "cli.json").write_text(content)
    assert "cli.json" in refused(Common(data=data), {}).message


@pytest.mark.parametrize("content", ["", "two words", "rfk_\x1b[31m", "rfk_é", "a\nb"])
def test_a_file_without_a_key_is_refused_before_anything_is_sent(data: Path, content: str) -> None:
    (data / "admin.key").write_text(content)
    assert refused(Common(data=data), {}).exit_code is ExitCode.USAGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_directory_closed_to_us_says_who_may(data: Path) -> None:
    (data / "cli.json").chmod(0)
    assert "may not be read" in refused(Common(data=data), {}).message
