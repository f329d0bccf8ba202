"""May a plan be installed?"""

import pytest

from redflag_dashboard.install_rules import Refusal, Verdict, beyond_request, judge
from redflag_wire.command_params import PackageRef
from redflag_wire.plan import Plan, PlanItem


def item(name: str, action: str = "upgrade", *, old: str | None = "1", new: str | None = "2") -> PlanItem:
    return PlanItem.model_validate(
        {"name": name, "arch": "amd64", "old": old, "new": new, "origin": "", "action": action}
    )


def plan(*items: PlanItem) -> Plan:
    return Plan(manager="apt", request=[PackageRef(name="a", arch="amd64", version="2")], items=list(items))


APPROVED = {("a", "amd64"): "2"}


def test_exactly_what_was_asked_and_approved_is_installed() -> None:
    assert judge(plan(item("a")), newest=True, confirmed=False, approved=APPROVED) == Verdict()


def test_an_older_plan_is_refused_whatever_else_holds() -> None:
    verdict = judge(plan(item("a")), newest=False, confirmed=True, approved=APPROVED)
    assert verdict.refusal is Refusal.PLAN_OUTDATED


@pytest.mark.parametrize(
    "approved", [{}, {("a", "amd64"): "1.9"}, {("a", "i386"): "2"}, {("a", "amd64"): None}]
)
def test_an_approval_of_another_version_or_architecture_is_none(
    approved: dict[tuple[str, str], str | None],
) -> None:
    verdict = judge(plan(item("a")), newest=True, confirmed=True, approved=approved)
    assert verdict.refusal is Refusal.NOT_APPROVED
    assert [one["name"] for one in verdict.missing] == ["a"]


@pytest.mark.parametrize(
    "extra",
    [
        item("b"),
        item("b", "install", old=None),
        item("b", "remove", new=None),
        item("b", "downgrade"),
    ],
)
def test_anything_beyond_the_request_needs_a_confirmation(extra: PlanItem) -> None:
    more = plan(item("a"), extra)
    verdict = judge(more, newest=True, confirmed=False, approved=APPROVED)
    assert verdict.refusal is Refusal.CONFIRMATION_REQUIRED
    assert [one["name"] for one in verdict.missing] == ["b"]
    assert judge(more, newest=True, confirmed=True, approved=APPROVED) == Verdict()


@pytest.mark.parametrize("odd", [item("a", "remove", new=None), item("a", "downgrade"), item("a", new="3")])
def test_a_package_asked_for_that_would_fare_otherwise_was_not_asked_for_like_that(odd: PlanItem) -> None:
    assert [one["name"] for one in beyond_request(plan(odd))] == ["a"]


def test_removals_are_named_first() -> None:
    beyond = beyond_request(plan(item("a"), item("b"), item("z", "remove", new=None)))
    assert [one["name"] for one in beyond] == ["z", "b"]
