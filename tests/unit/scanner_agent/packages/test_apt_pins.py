from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_scanner_agent.packages.apt_pins import PinRecord, parse_records, read_records, reason
from redflag_scanner_agent.packages.apt_policy import Candidate, Offer

FILE = Path("/etc/apt/preferences.d/ours")
OTHER = Path("/etc/apt/preferences")


def record(packages: str, pin: str, priority: int, file: Path = FILE) -> PinRecord:
    return PinRecord(file=file, packages=tuple(packages.split()), pin=pin, priority=priority)


def candidate(version: str, **priorities: int) -> Candidate:
    offers = {
        name.removeprefix("v").replace("_", "."): Offer(priority=one, sources=())
        for name, one in priorities.items()
    }
    return Candidate(installed="1.0", version=version, security=False, offers=offers)


def test_records_are_read_with_comments_and_continued_lines() -> None:
    text = (
        "# a comment\nExplanation: why\nPackage: vim\n vim-*\nPin: version 2:*\nPin-Priority: -1\n\n\n"
        "package: *\npin: release n=stable\npin-priority: 990\n\nPackage: broken\nPin-Priority: 5\n"
    )
    assert parse_records(text, FILE) == [
        record("vim vim-*", "version 2:*", -1),
        record("*", "release n=stable", 990),
    ]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("vim", "vim", True),
        ("vim", "vim-tiny", False),
        ("vim*", "vim-tiny", True),
        ("vim:amd64", "vim", True),
        ("/^vi/", "vim", True),
        ("/^im/", "vim", False),
        ("/(/", "vim", False),
        ("*", "vim", True),
    ],
)
def test_record_is_about_the_names_it_fits(pattern: str, name: str, matches: bool) -> None:
    assert record(pattern, "version 1", 1).names(name) is matches


def test_reason_names_the_pin_of_the_version_that_is_kept_away() -> None:
    found = candidate("1.0", v2_0=-1, v1_0=500)
    records = [
        record("demo", "version 2.0", -1),
        record("demo", "version 3*", -1, OTHER),
        record("x", "version *", -1, OTHER),
    ]
    assert reason("demo", "2.0", found, records) == f"a pin gives 2.0 the priority -1 ({FILE})"


def test_reason_names_the_pin_of_the_version_that_is_preferred() -> None:
    found = candidate("1.0", v2_0=500, v1_0=1001)
    records = [record("demo", "version 1.0", 1001)]
    assert (
        reason("demo", "2.0", found, records) == f"a pin prefers 1.0, with the priority 1001, to 2.0 ({FILE})"
    )


def test_reason_names_no_file_when_several_could_be_meant() -> None:
    found = candidate("1.0", v2_0=-1, v1_0=500)
    records = [record("*", "release n=a", -1), record("*", "release n=b", -1, OTHER)]
    assert reason("demo", "2.0", found, records) == "a pin gives 2.0 the priority -1"


def test_files_are_those_that_apt_reads(tmp_path: Path) -> None:
    parts = tmp_path / "preferences.d"
    parts.mkdir()
    text = "Package: demo\nPin: version 1\nPin-Priority: 7\n"
    for name in ("one", "two.pref", "three.bak", "four.dpkg-old"):
        (parts / name).write_text(text)
    (parts / "five.pref").mkdir()
    found = read_records(tmp_path / "preferences", parts)
    assert [one.file.name for one in found] == ["one", "two.pref"]
    assert read_records(tmp_path / "none", tmp_path / "none.d") == []


@given(st.text(max_size=300))
def test_preferences_never_raise_on_any_text(text: str) -> None:
    for one in parse_records(text + "\n\nPackage: " + text + "\nPin: version x\nPin-Priority: 1\n", FILE):
        one.names("demo")
    reason("demo", text, candidate("1.0", v2_0=-1), [record("demo", text, -1)])
