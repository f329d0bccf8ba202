import errno
import os
from pathlib import Path
from uuid import UUID

import pytest

from redflag_scanner_agent import failpoints
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import AgentError, NotDurableError
from redflag_scanner_agent.identity import Generation, Identity, IdentityStore
from redflag_wire import base64_strict
from tests.support.agent_fleet import Fleet

SECRET = base64_strict.encode(b"s" * 32)


def identity(gen: int = 1) -> Identity:
    fleet = Fleet()
    return Identity(
        server="https://redflag.example.org",
        fleet=fleet.id,
        agent=UUID(fleet.id),
        access_token="token",
        confirmed=None,
        issued=Generation(gen=gen, secret=SECRET),
    )


def test_identity_is_kept_whole(tmp_path: Path) -> None:
    with DurableDirectory(tmp_path) as files:
        store = IdentityStore(files)
        assert store.load() is None
        found = identity()
        store.save(found)
        assert IdentityStore(files).load() == found
    assert (tmp_path / "identity.json").stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    assert SECRET not in repr(identity())


def test_issued_generation_is_presented_until_it_is_confirmed() -> None:
    found = identity().confirm()
    assert found.issued is None
    renewed = found.renewed("newer", Generation(gen=2, secret=SECRET))
    assert renewed.newest.gen == 2
    assert renewed.confirmed == Generation(gen=1, secret=SECRET)
    assert renewed.confirm().confirmed == Generation(gen=2, secret=SECRET)


def test_agent_key_is_made_once(tmp_path: Path) -> None:
    with DurableDirectory(tmp_path) as files:
        first = IdentityStore(files).agent_key()
        assert IdentityStore(files).agent_key() == first
    assert (tmp_path / "agent.key").stat().st_mode & 0o777 == 0o600


def test_damaged_files_are_named_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "agent.key").write_text("redflag-key-v1 receipt AAAA\n")
    (tmp_path / "identity.json").write_text("{}")
    with DurableDirectory(tmp_path) as files:
        store = IdentityStore(files)
        with pytest.raises(AgentError, match=r"agent\.key"):
            store.agent_key()
        with pytest.raises(AgentError, match=r"identity\.json"):
            store.load()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "error")]
)
def test_write_that_fails_keeps_the_old_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    with DurableDirectory(tmp_path) as files:
        files.write("name", b"old")

        def broken(_handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(NotDurableError, match=words):
            files.write("name", b"new")
        assert files.read("name") == b"old"


def test_crash_before_the_rename_keeps_the_old(tmp_path: Path) -> None:
    def die(name: str) -> None:
        raise RuntimeError(name)

    with DurableDirectory(tmp_path) as files:
        files.write("name", b"old")
        failpoints.set_hook(die)
        with pytest.raises(RuntimeError):
            files.write("name", b"new")
        failpoints.set_hook(None)
        assert files.read("name") == b"old"
        files.write("name", b"newer")  # what the crash left lying about is in nobody's way
        assert files.read("name") == b"newer"


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    (tmp_path / "name").symlink_to(target)
    with DurableDirectory(tmp_path) as files:
        with pytest.raises(NotDurableError):
            files.read("name")
        files.write("name", b"ours")
    assert target.read_text() == "theirs"


def test_directory_is_used_after_the_way_to_it_is_closed(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "net"
    inner.mkdir(parents=True)
    with DurableDirectory(inner) as files:
        inner.parent.rename(tmp_path / "elsewhere")
        files.write("name", b"ours")
        assert files.read("name") == b"ours"
