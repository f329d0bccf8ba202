import hashlib
from pathlib import Path

import pytest

from redflag_scanner_agent import facts
from redflag_scanner_agent.errors import HostFactsError

ID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("text", [ID, ID + "\n", ID.upper(), f" {ID} "])
def test_machine_id_is_a_hash_of_the_canonical_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "id").write_text(text)
    assert facts.machine_id(tmp_path / "id") == hashlib.sha256(ID.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32, "xyz", ID + "0", "\xff"])
def test_machine_id_that_is_none_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "id").write_text(text)
    with pytest.raises(HostFactsError, match="systemd-machine-id-setup"):
        facts.machine_id(tmp_path / "id")


def test_missing_machine_id_has_no_substitute(tmp_path: Path) -> None:
    with pytest.raises(HostFactsError, match="systemd-machine-id-setup"):
        facts.machine_id(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("host", "host"),
        ("", "unknown"),
        ("a\x1b[2Jb", "a?[2Jb"),
        ("a\u202eb", "a?b"),
        ("e\u0301", "\u00e9"),
        ("x" * 300, "x" * 256),
        ("\u00e9" * 200, "\u00e9" * 128),
        ("\udcff", "?"),
    ],
)
def test_names_are_what_the_wire_takes(text: str, name: str) -> None:
    assert facts.name_of(text) == name


def test_facts_of_this_host_fit_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "machine_id", lambda: "0" * 64)
    found = facts.collect([])
    assert type(found).from_bytes(found.to_bytes()) == found
    assert len(found.boot_id) == 36
