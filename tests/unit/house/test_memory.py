"""Where the tests put their temporary files."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.support import memory


def test_a_place_with_room_is_taken_and_one_without_is_not(tmp_path: Path) -> None:
    assert memory.memory_directory(tmp_path, needed=1) == tmp_path
    assert memory.memory_directory(tmp_path, needed=1 << 60) is None
    assert memory.memory_directory(tmp_path / "nowhere", needed=1) is None


def test_what_the_person_says_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "memory_directory", lambda: tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    memory.use_memory()
    assert os.environ["TMPDIR"] == "/var/tmp"
    monkeypatch.delenv("TMPDIR")
    memory.use_memory()
    assert tempfile.gettempdir() == str(tmp_path)
