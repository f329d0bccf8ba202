"""A wrong `--data` fills nobody else's directory."""

from pathlib import Path

import pytest

from redflag.up.data_dir import DataDir
from redflag.up.errors import DataDirError


def test_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("somebody's project")
    with pytest.raises(DataDirError, match="holds other files"):
        DataDir.prepare(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["README.md"]


def test_file_in_place_of_a_directory_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("")
    with pytest.raises(DataDirError, match="not a directory"):
        DataDir.prepare(path)


def test_empty_file_system_and_start_cut_off_early_are_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    DataDir.prepare(tmp_path)
    assert not (tmp_path / "up.lock").exists()
    DataDir.prepare(tmp_path)


def test_own_directory_is_taken_whatever_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "up.lock").touch()
    (tmp_path / "notes.txt").touch()
    DataDir.prepare(tmp_path)
