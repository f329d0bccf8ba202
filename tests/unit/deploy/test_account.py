from pathlib import Path

import pytest

from redflag.embedded.launch import Account

STRANGER = Account("stranger", 4_000_001, 4_000_001)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    path = tmp_path / "one" / "two"
    path.mkdir(parents=True)
    for directory in (tmp_path / "one", path):
        directory.chmod(0o755)
    return path


def test_may_enter_looks_at_owner_then_group_then_others(deep: Path) -> None:
    found = deep.stat()
    deep.chmod(0o701)
    assert STRANGER.may_enter(deep)
    assert not Account("group", 4_000_001, found.st_gid).may_enter(deep)
    deep.chmod(0o011)
    assert not Account("owner", found.st_uid, found.st_gid).may_enter(deep)


def test_first_closed_names_the_outermost(deep: Path) -> None:
    deep.chmod(0o700)
    deep.parent.chmod(0o700)
    closed = STRANGER.first_closed(deep)
    assert closed is not None
    assert closed in (deep.parent, *deep.parent.parents)
