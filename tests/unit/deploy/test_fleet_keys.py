import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import pytest

from redflag.keys.errors import KeyFileError
from redflag.keys.fleet_keys import USES, have_manifest, key_file, load_or_make_fleet
from redflag_wire.clock import ManualClock
from redflag_wire.manifest_chain import verify_first
from redflag_wire.payload_types import KeyUse, SignerRole
from redflag_wire.signing import SigningKey

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def test_first_start_makes_a_manifest_that_verifies(tmp_path: Path, clock: ManualClock) -> None:
    made = load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    manifest = verify_first(made.manifest, made.root_fingerprint)
    assert manifest.fleet == made.fleet
    for use in USES:
        key = SigningKey.from_text(key_file(tmp_path, use).read_text(), SignerRole(use.value))
        assert manifest.keys_for(use, NOW) == [key.public]


def test_second_start_finds_the_same_keys_much_later(tmp_path: Path, clock: ManualClock) -> None:
    first = load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    clock.advance(86_400 * 1000)
    assert load_or_make_fleet(tmp_path, clock, secrets.token_bytes) == first


def test_keys_are_for_their_owner_only(tmp_path: Path, clock: ManualClock) -> None:
    load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"root.key", "command.key", "beacon.key", "access.key", "intent.key", "fleet"} < set(modes)


def test_interrupted_first_start_is_finished_with_the_keys_already_there(
    tmp_path: Path, clock: ManualClock
) -> None:
    class PowerCutError(Exception):
        pass

    calls = 0

    def random(count: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise PowerCutError
        return os.urandom(count)

    with pytest.raises(PowerCutError):
        load_or_make_fleet(tmp_path, clock, random)
    assert not have_manifest(tmp_path)
    root = key_file(tmp_path, SignerRole.ROOT).read_text()
    load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    assert have_manifest(tmp_path)
    assert key_file(tmp_path, SignerRole.ROOT).read_text() == root


@pytest.mark.parametrize(
    "content", ["", "redflag-key-v1 beacon AAAA\n", "redflag-key-v1 command !\n", "\u00e9"]
)
def test_damaged_key_is_named_and_not_replaced(tmp_path: Path, clock: ManualClock, content: str) -> None:
    load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    path = key_file(tmp_path, KeyUse.COMMAND)
    path.write_text(content)
    with pytest.raises(KeyFileError) as raised:
        load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    assert raised.value.path == path
    assert path.read_text() == content


def test_root_key_of_another_fleet_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
    key_file(tmp_path, SignerRole.ROOT).unlink()
    with pytest.raises(KeyFileError, match=r"manifest-1\.json"):
        load_or_make_fleet(tmp_path, clock, secrets.token_bytes)
