import json
import secrets
from pathlib import Path
from uuid import UUID

import pytest

from redflag_broker_config.compare import Difference, compare
from redflag_broker_config.connect import make_seed, public_key, read_seed
from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.permissions import USER_INFO_SUBJECT, dispatcher_permissions, gateway_permissions
from redflag_broker_config.server_config import render_server_config
from redflag_broker_config.streams import (
    FILE_STORE_MAX_BYTES,
    agent_consumer_config,
    command_stream,
    definitions,
)
from redflag_broker_config.subjects import SHARDS, stream_name

AGENT = UUID("0199c0de-0000-7000-8000-000000000001")


def test_every_stream_is_bounded_and_names_its_number_of_consumers() -> None:
    for definition in definitions():
        assert definition.config["max_bytes"] > 0
        assert definition.config["max_msg_size"] > 0
        assert definition.config["max_consumers"] > 0
        assert definition.config["discard"] == "new"


def test_all_streams_fit_the_store() -> None:
    assert sum(definition.config["max_bytes"] for definition in definitions()) < FILE_STORE_MAX_BYTES


def test_replicated_command_streams_do_not_ask_for_async_persistence() -> None:
    assert command_stream(0)["persist_mode"] == "async"
    assert "persist_mode" not in command_stream(0, replicas=3)
    assert agent_consumer_config(AGENT)["num_replicas"] == 1


def test_gateway_list_names_each_stream_and_holds_no_right_over_streams() -> None:
    granted = gateway_permissions().publish
    for shard in range(SHARDS):
        assert f"$JS.ACK.{stream_name(shard)}.>" in granted
    for subject in set(granted) - {USER_INFO_SUBJECT}:  # which tells of the asking user alone
        assert ".STREAM." not in subject
        assert not subject.startswith(("rf.cmd", ">", "$KV", "$SYS", "_INBOX"))
    assert dispatcher_permissions().publish == (">",)


def _users() -> dict[str, str]:
    return {name: public_key(make_seed(secrets.token_bytes)) for name in ("gateway", "dispatcher")}


def test_server_config_quotes_paths(tmp_path: Path) -> None:
    awkward = tmp_path / 'a "quoted" \\ place'
    text = render_server_config(awkward, "127.0.0.1:-1", _users(), monitor_listen=None)
    assert f"store_dir: {json.dumps(str(awkward))}" in text
    assert "sync_interval: always" in text
    assert "http:" not in text


@pytest.mark.parametrize("path", ["/a\nauthorization: {}", "/\u00e9", "/\x00"])
def test_server_config_refuses_paths_it_cannot_write_safely(path: str) -> None:
    with pytest.raises(ValueError, match="/"):
        render_server_config(Path(path), "127.0.0.1:-1", _users(), monitor_listen=None)


@pytest.mark.parametrize("key", ["", "U", "U }", "A" * 56, "U" + "A" * 54 + "}"])
def test_server_config_refuses_what_is_no_public_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(CredentialsError):
        render_server_config(tmp_path, "127.0.0.1:-1", {**_users(), "gateway": key}, monitor_listen=None)


def test_server_config_needs_both_services(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        render_server_config(tmp_path, "127.0.0.1:-1", {"gateway": _users()["gateway"]}, monitor_listen=None)


def test_seed_file_is_read_back(tmp_path: Path) -> None:
    seed = make_seed(secrets.token_bytes)
    (tmp_path / "x.nk").write_text(seed + "\n")
    assert read_seed(tmp_path / "x.nk") == seed


@pytest.mark.parametrize("text", ["", "SUAAA", "not a seed", "\u00e9"])
def test_seed_file_with_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.nk").write_text(text)
    with pytest.raises(CredentialsError):
        read_seed(tmp_path / "x.nk")


def test_compare_ignores_what_only_the_server_knows() -> None:
    assert compare("stream X", {"a": 1}, {"a": 1, "metadata": {}}) == []
    assert compare("stream X", {"a": 1}, {"a": 2}) == [Difference("stream X", "a", 1, 2)]
    assert compare("stream X", {"max_age": 0}, {}) == []
    assert compare("stream X", {"max_bytes": 5}, {}) == [Difference("stream X", "max_bytes", 5, None)]


def test_difference_reads_as_a_line() -> None:
    assert str(Difference("stream X", "a", 1, 2)) == "stream X, a: expected 1, found 2"
    assert str(Difference("stream X", "", "there", "missing")) == "stream X: expected there, found missing"
