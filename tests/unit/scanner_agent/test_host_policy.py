from pathlib import Path

import pytest

from redflag_scanner_agent.host_policy import load_policy, parse_policy
from redflag_wire.command_params import CommandKind


def test_absent_file_allows_everything(tmp_path: Path) -> None:
    policy = load_policy(tmp_path / "none.toml")
    assert all(policy.allows_kind(kind) for kind in CommandKind)
    assert policy.first_refused(["anything"]) is None


def test_kinds_and_packages() -> None:
    policy = parse_policy('kinds = ["scan"]\n[packages]\nallow = ["lib*", "vim"]\ndeny = ["libc6"]\n')
    assert policy.allows_kind(CommandKind.SCAN)
    assert not policy.allows_kind(CommandKind.INSTALL_UPDATES)
    assert policy.first_refused(["libssl3", "vim"]) is None
    assert policy.first_refused(["vim", "libc6"]) == "libc6"
    assert policy.first_refused(["nano"]) == "nano"


@pytest.mark.parametrize(
    "text",
    [
        "kinds = 'scan'",
        'kinds = ["everything"]',
        'kind = ["scan"]',
        "[packages]\nallow = [1]",
        "[packages]\ndenied = []",
        "not toml",
        "packages = 1",
        "[packages]\nallow = [" + '"a",' * 1001 + "]",
        "allow_reboot = 1",
        'repair_interrupted = "true"',
        "[packages]\nallow_reboot = true",
        "x = " + "[" * 5000 + "]" * 5000,
    ],
)
def test_wrong_file_allows_nothing_and_says_why(text: str) -> None:
    policy = parse_policy(text)
    assert policy.fault
    assert not any(policy.allows_kind(kind) for kind in CommandKind)
    assert policy.first_refused(["vim"]) == "vim"
    assert not policy.allow_reboot
    assert not policy.repair_interrupted


def test_switches_have_their_defaults_and_follow_the_file(tmp_path: Path) -> None:
    for policy in (load_policy(tmp_path / "none.toml"), parse_policy("")):
        assert (policy.allow_reboot, policy.repair_interrupted) == (True, False)
    policy = parse_policy("allow_reboot = false\nrepair_interrupted = true\n")
    assert (policy.allow_reboot, policy.repair_interrupted, policy.fault) == (False, True, None)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('# ours\nkinds = ["scan", "everything"]', 2, "everything"),
        ("allow_reboot = true\nrepair_interupted = true", 2, "repair_interupted"),
        ("\n\nallow_reboot = 'no'", 3, "allow_reboot"),
        ("[packages]\nallow = []\ndenied = []", 3, "denied"),
        ("[packages]\ndeny = 'x'", 2, "deny"),
        ("allow_reboot = true\nkinds = scan\n", 2, ""),
        ("\n[package]\nallow = []", 2, "package"),
    ],
)
def test_wrong_file_says_which_line(text: str, line: int, word: str) -> None:
    fault = parse_policy(text).fault or ""
    assert f"line {line}" in fault
    assert word in fault


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622])
def test_file_others_may_write_allows_nothing(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(mode)
    assert "written by others" in (load_policy(path).fault or "")
    path.chmod(0o644)
    assert load_policy(path).fault is None


def test_what_is_no_plain_file_allows_nothing(tmp_path: Path) -> None:
    assert load_policy(tmp_path).fault
    (tmp_path / "long").write_bytes(b"#" * 70_000)
    assert "longer" in (load_policy(tmp_path / "long").fault or "")
    (tmp_path / "binary").write_bytes(b"\xff")
    assert "UTF-8" in (load_policy(tmp_path / "binary").fault or "")
