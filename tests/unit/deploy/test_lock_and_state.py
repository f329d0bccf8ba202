import os
from pathlib import Path

import pytest

from redflag.embedded.processes import ProcessIdentity
from redflag.up.data_dir import DataDir
from redflag.up.errors import AlreadyRunningError, DataDirError
from redflag.up.leftovers import find_recorded
from redflag.up.lock import hold
from redflag.up.state import StateFile


def test_second_holder_is_told_pid_and_directory(tmp_path: Path) -> None:
    data = DataDir.prepare(tmp_path / "data")
    with hold(data), pytest.raises(AlreadyRunningError) as raised, hold(data):
        pass
    assert (raised.value.pid, raised.value.path) == (os.getpid(), tmp_path / "data")
    assert raised.value.exit_code == 3
    with hold(data):
        pass


def test_data_directory_is_closed_below_and_can_be_entered(tmp_path: Path) -> None:
    data = DataDir.prepare(tmp_path / "data")
    assert data.root.stat().st_mode & 0o777 == 0o711
    for directory in (data.keys, data.secrets, data.logs, data.nats):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_data_directory_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirError, match="choose another with --data"):
        DataDir.prepare(tmp_path / "data")


def test_state_is_found_again_and_damage_is_an_empty_state(tmp_path: Path) -> None:
    first = StateFile(tmp_path / "up.json")
    first.state.ports = {"api": 1234}
    first.started("me", os.getpid())
    second = StateFile(tmp_path / "up.json")
    assert second.load() == first.state
    (tmp_path / "up.json").write_text("{")
    assert second.load().ports == {}


def test_recorded_process_is_ours_only_while_everything_agrees(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "up.json")
    file.started("me", os.getpid())
    assert find_recorded(file.state) == [ProcessIdentity.of(os.getpid())]
    record = file.state.children["me"]
    for other in (
        record.model_copy(update={"started": record.started + 1}),
        record.model_copy(update={"command_line": ["another"]}),
    ):
        file.state.children["me"] = other
        assert find_recorded(file.state) == []
    file.state.children["me"] = record
    file.state.boot_id = "another boot"
    assert find_recorded(file.state) == []
