import pytest

from redflag_scanner_agent.packages.base import difference, outcome_of
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import InstalledItem, InstallResult, Plan, PlanDrift, PlanItem


def item(name: str, old: str | None, new: str) -> PlanItem:
    return PlanItem(
        name=name,
        arch="all",
        old=old,
        new=new,
        origin="localhost/bed",
        action="install" if old is None else "upgrade",
    )


def plan(*items: PlanItem) -> Plan:
    return Plan(manager="apt", request=[], items=list(items))


def result(*items: tuple[str | None, str | None, bool], exit_code: int = 0) -> InstallResult:
    return InstallResult(
        manager="apt",
        items=[
            InstalledItem(name=f"p{index}", arch="all", old=old, new=new, ok=ok)
            for index, (old, new, ok) in enumerate(items)
        ],
        exit_code=exit_code,
        stdout="",
        stderr="",
        duration_ms=1,
    )


def test_difference_of_equal_plans_is_none() -> None:
    assert (
        difference(
            plan(item("a", "1", "2"), item("b", None, "1")), plan(item("b", None, "1"), item("a", "1", "2"))
        )
        is None
    )


def test_difference_names_missing_extra_and_changed() -> None:
    drift = difference(
        plan(item("a", "1", "2"), item("b", "1", "2"), item("same", "1", "2")),
        plan(item("b", "1", "3"), item("c", None, "1"), item("same", "1", "2")),
    )
    assert drift == PlanDrift(
        missing=[item("a", "1", "2")], extra=[item("c", None, "1")], changed=[item("b", "1", "3")]
    )


def test_difference_sees_another_origin() -> None:
    other = item("a", "1", "2").model_copy(update={"origin": "evil.example/bed"})
    drift = difference(plan(item("a", "1", "2")), plan(other))
    assert drift is not None
    assert drift.changed == [other]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (result(("1", "2", True), (None, "1", True)), Outcome.SUCCEEDED),
        (result(("1", "2", True), exit_code=100), Outcome.PARTIAL),
        (result(("1", "2", True), ("1", "1", False), exit_code=100), Outcome.PARTIAL),
        (result(("1", "2", False), exit_code=100), Outcome.PARTIAL),
        (result(("1", "1", False), (None, None, False), exit_code=100), Outcome.FAILED),
        (result(("1", "1", False)), Outcome.FAILED),
        (result().model_copy(update={"drift": PlanDrift()}), Outcome.PLAN_DRIFT),
        (result().model_copy(update={"exit_code": None}), Outcome.SUCCEEDED),  # a plan without items
        (result(exit_code=100), Outcome.PARTIAL),
    ],
)
def test_outcome_follows_what_was_found(given: InstallResult, expected: Outcome) -> None:
    assert outcome_of(given) is expected
