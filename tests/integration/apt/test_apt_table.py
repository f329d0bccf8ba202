"""Every cell of the table in `tests.support.apt_table`: done with real apt-get and dpkg, and as it stands here.

`python -m tests.support.apt_table` prints it as Markdown.
"""

from pathlib import Path

import pytest

from tests.support.apt_bed import AptBed, require_tools
from tests.support.apt_situations import SITUATIONS
from tests.support.apt_table import COLUMNS, Situation, cell

REPAIRED = "repaired (dpkg had been interrupted; `dpkg --configure -a` ended with 0; finished: other 2.0)"
# In the order of COLUMNS: scan, plan, install, drift, rollback.
EXPECTED = {
    "up to date": (
        "no updates",
        "nothing to do",
        "nothing to do; dpkg: demo 1.0",
        "plan_drift: extra demo 3.0; dpkg: demo 1.0",
        "succeeded; dpkg: demo 0.9",
    ),
    "updates": (
        "demo 2.0 available; other 2.0 available",
        "demo 1.0 to 2.0; other 1.0 to 2.0",
        "succeeded; dpkg: demo 2.0, other 2.0",
        "plan_drift: changed demo 3.0; dpkg: demo 1.0, other 1.0",
        "succeeded; dpkg: demo 1.0, other 1.0",
    ),
    "security only": (
        "demo 2.0 available, security, signature verified; other 2.0 available, signature verified",
        "demo 1.0 to 2.0",
        "succeeded; dpkg: demo 2.0, other 1.0",
        "plan_drift: extra other 2.1; dpkg: demo 1.0, other 1.0",
        "succeeded; dpkg: demo 1.0, other 1.0",
    ),
    "new dependency": (
        "demo 2.0 available; newdep 1.0 available",
        "demo 1.0 to 2.0; newdep new to 1.0",
        "succeeded; dpkg: demo 2.0, newdep 1.0",
        "plan_drift: extra further 1.0, changed newdep 1.1; dpkg: demo 1.0",
        "succeeded; dpkg: demo 1.0, newdep 1.0",
    ),
    "held": (
        "demo 2.0 held",
        "refused: held",
        "nothing to do; dpkg: demo 1.0",
        "plan_drift: missing demo 2.0; dpkg: demo 1.0",
        "refused: held; dpkg: demo 2.0",
    ),
    "phased": (
        "demo 2.0 phased, 0 %; other 2.0 available, 99 %",
        "demo 1.0 to 2.0",
        "succeeded; dpkg: demo 2.0, other 1.0",
        "plan_drift: changed demo 3.0; dpkg: demo 1.0, other 1.0",
        "succeeded; dpkg: demo 1.0, other 1.0",
    ),
    "pinned": (
        "demo 2.0 pinned",
        "refused: pinned",
        "nothing to do; dpkg: demo 1.0",
        "plan_drift: missing demo 2.0; dpkg: demo 1.0",
        "succeeded; dpkg: demo 1.0",
    ),
    "conffile": (
        "demo 2.0 available",
        "demo 1.0 to 2.0",
        "succeeded, kept /etc/demo.conf; dpkg: demo 2.0",
        "plan_drift: changed demo 3.0; dpkg: demo 1.0",
        "succeeded, kept /etc/demo.conf; dpkg: demo 1.0",
    ),
    "failing postinst": (
        "demo 2.0 available; other 2.0 available",
        "demo 1.0 to 2.0; other 1.0 to 2.0",
        "partial; dpkg: demo 2.0 half-configured, other 2.0",
        "plan_drift: changed demo 3.0; dpkg: demo 1.0, other 1.0",
        "succeeded; dpkg: demo 1.0, other 1.0",
    ),
    "lock held": (
        "demo 2.0 available",
        "demo 1.0 to 2.0",
        "refused: lock_held; dpkg: demo 1.0",
        "plan_drift: changed demo 3.0; dpkg: demo 1.0",
        "refused: lock_held; dpkg: demo 2.0",
    ),
    "interrupted": (
        "demo 2.0 available; told: dpkg_interrupted; told: broken",
        "demo 1.0 to 2.0",
        "refused: dpkg_interrupted; dpkg: demo 1.0, other 2.0 half-configured",
        "refused: dpkg_interrupted; dpkg: demo 1.0, other 2.0 half-configured",
        "refused: dpkg_interrupted; dpkg: demo 1.0, other 2.0 half-configured",
    ),
    "interrupted, repair allowed": (
        "demo 2.0 available; told: dpkg_interrupted; told: broken",
        "demo 1.0 to 2.0",
        f"succeeded, {REPAIRED}; dpkg: demo 2.0, other 2.0",
        f"plan_drift: changed demo 3.0, {REPAIRED}; dpkg: demo 1.0, other 2.0",
        f"succeeded, {REPAIRED}; dpkg: demo 1.0, other 1.0",
    ),
    "mirror away": (
        "demo 2.0 available; told: mirror_unreachable",
        "demo 1.0 to 2.0",
        "refused: mirror_unreachable; dpkg: demo 1.0",
        "plan_drift: missing demo 2.0; dpkg: demo 1.0",
        "succeeded; dpkg: demo 1.0",
    ),
}


@pytest.fixture(scope="module")
def beds() -> dict[str, AptBed]:
    """The bed of each situation, built when its first cell needs it."""
    require_tools()
    return {}


def place_of(directory: Path, situation: Situation) -> Path:
    return directory / situation.name.replace(" ", "-").replace(",", "")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
async def test_cell(
    situation: Situation,
    column: str,
    beds: dict[str, AptBed],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if situation.name not in beds:
        beds[situation.name] = situation.make(place_of(tmp_path_factory.getbasetemp(), situation))
    found = await cell(situation, beds[situation.name], column)
    assert found == EXPECTED[situation.name][COLUMNS.index(column)]


def test_every_situation_is_in_the_table() -> None:
    assert [one.name for one in SITUATIONS] == list(EXPECTED)
