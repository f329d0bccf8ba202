import os
from pathlib import Path

import pytest

from redflag.keys.durable_file import load_or_make, make_directory, write_durable


def test_write_replaces_the_whole_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("a longer old content")
    write_durable(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    write_durable(path, b"old")

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durable(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_load_or_make_makes_once(tmp_path: Path) -> None:
    made = iter(["first", "second"])
    assert load_or_make(tmp_path / "key", lambda: next(made)) == "first"
    assert load_or_make(tmp_path / "key", lambda: next(made)) == "first"


def test_directory_gets_exactly_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_directory(tmp_path / "open", mode=0o711)
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o711
