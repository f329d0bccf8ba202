import pytest

from redflag_scanner_agent.packages.apt_dpkg import DpkgStates, parse_states
from redflag_scanner_agent.packages.apt_verdict import installed_items, judge, shortfalls
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import Plan, PlanItem

PLAN = Plan(
    manager="apt",
    request=[],
    items=[
        PlanItem(name="app", arch="all", old="1", new="2", origin="", action="upgrade"),
        PlanItem(name="new", arch="amd64", old=None, new="1", origin="", action="install"),
        PlanItem(name="old", arch="all", old="1", new=None, origin="", action="remove"),
    ],
)


def states(app: str, new: str | None, old: str | None) -> DpkgStates:
    rows = [("app", "all", app), ("new", "amd64", new), ("old", "all", old)]
    lines = []
    for name, arch, text in rows:
        if text is not None:
            version, _, status = text.partition(" ")
            lines.append(f"{name}\t{arch}\t{version}\tinstall\t{status or 'installed'}\tok\n")
    return parse_states("".join(lines), "amd64")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (states("2", "1", None), Outcome.SUCCEEDED),
        (states("2", "1", "1 config-files"), Outcome.SUCCEEDED),
        (states("1", None, "1"), Outcome.FAILED),
        (states("1 half-configured", None, "1"), Outcome.FAILED),
        (states("2 half-configured", "1", None), Outcome.PARTIAL),
        (states("2 triggers-pending", "1", None), Outcome.PARTIAL),
        (states("2", None, "1"), Outcome.PARTIAL),
        (states("3", "1", None), Outcome.PARTIAL),
        (states("2", "1", "1"), Outcome.PARTIAL),
    ],
)
def test_judgement_follows_dpkgs_database(found: DpkgStates, expected: Outcome) -> None:
    assert judge(PLAN, found) is expected


def test_shortfalls_tell_dpkgs_word_for_the_state() -> None:
    assert shortfalls(PLAN, states("2 half-configured", None, "1")) == [
        "app:all should be installed 2, dpkg says half-configured 2",
        "new:amd64 should be installed 1, dpkg says not installed",
        "old:all should be removed, dpkg says installed 1",
    ]
    assert shortfalls(PLAN, states("2", "1", None)) == []


def test_items_name_the_version_that_is_there() -> None:
    found = installed_items(PLAN, states("2 half-configured", "1", "1"))
    assert [(item.name, item.new, item.ok) for item in found] == [
        ("app", "2", False),
        ("new", "1", True),
        ("old", "1", False),
    ]
