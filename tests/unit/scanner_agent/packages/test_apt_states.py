from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt_dpkg import DpkgStates, parse_states
from redflag_scanner_agent.packages.apt_interrupted import is_interrupted, told
from redflag_scanner_agent.packages.apt_states import KEPT_BACK, kept_back_reason, phased_percent, state_of


@pytest.mark.parametrize(
    ("held", "changes", "percent", "state"),
    [
        (True, True, 10, "held"),
        (False, True, 10, "available"),  # this machine is among the ten percent
        (False, True, None, "available"),
        (False, False, 10, "phased"),
        (False, False, 0, "phased"),
        (False, False, None, "kept_back"),
    ],
)
def test_state_and_reason_go_together(held: bool, changes: bool, percent: int | None, state: str) -> None:
    found, reason = state_of(held=held, changes=changes, percent=percent, candidate="2.0")
    assert found == state
    assert (reason is None) == (state == "available")


@pytest.mark.parametrize(("percentage", "found"), [(None, None), (0, 0), (99, 99), (100, None), (400, None)])
def test_percent_is_none_when_every_machine_gets_it(percentage: int | None, found: int | None) -> None:
    assert phased_percent(percentage) == found


UNMET = """\
The following packages have unmet dependencies:
 demo : Depends: nowhere (>= 2) but it is not installable
        Depends: lib (>= 2.0) but 1.0 is to be installed
 other:i386 : Breaks: demo (< 3) but 2.0 is to be installed
E: Unable to correct problems, you have held broken packages.
"""


def test_kept_back_quotes_what_is_not_met() -> None:
    assert kept_back_reason(100, UNMET) == (
        "Depends: nowhere (>= 2) but it is not installable; Depends: lib (>= 2.0) but 1.0 is to be installed; "
        "Breaks: demo (< 3) but 2.0 is to be installed"
    )
    assert kept_back_reason(100, "") == KEPT_BACK


def test_kept_back_names_what_would_go_or_come() -> None:
    inst = "Inst demo [1.0] (2.0 Bed:bed [all])\n"
    removals = "".join(f"Remv lib{number} [1.0]\n" for number in range(7))
    assert kept_back_reason(0, inst + removals) == "it would remove lib0, lib1, lib2, lib3, lib4 and 2 more"
    assert kept_back_reason(0, inst + "Inst new (1.0 Bed:bed [all])\n") == "it would bring in new"
    assert kept_back_reason(0, inst) == KEPT_BACK


def states(*rows: str) -> DpkgStates:
    return parse_states("".join(row.replace(" ", "\t") + "\n" for row in rows), "amd64")


def test_repair_tells_what_it_finished_and_what_is_left() -> None:
    before = states(
        "a all 1 install unpacked ok", "b all 2 install half-configured ok", "c all 3 install installed ok"
    )
    after = states(
        "a all 1 install installed ok", "b all 2 install half-configured ok", "c all 3 install installed ok"
    )
    assert told(before, after, 1) == (
        "dpkg had been interrupted; `dpkg --configure -a` ended with 1; finished: a 1; "
        "still not in order: b (half-configured)"
    )


@pytest.mark.parametrize(
    ("names", "interrupted"), [([], False), (["0000"], True), (["tmp.i"], False), (["tmp.i", "0012"], True)]
)
def test_interrupted_is_what_apt_takes_for_it(tmp_path: Path, names: list[str], interrupted: bool) -> None:
    (tmp_path / "updates").mkdir()
    for name in names:
        (tmp_path / "updates" / name).touch()
    assert is_interrupted(tmp_path) is interrupted
    assert not is_interrupted(tmp_path / "nowhere")
