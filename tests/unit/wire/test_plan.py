"""The same plan is the same bytes, and a plan that contradicts itself is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire.command_params import PackageRef
from redflag_wire.envelope import digest
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.report_bodies import Plan, PlanItem, PlanResult
from tests.unit.wire.samples import STEADY

NAMES = st.text("abcz09+.-\u00fc", min_size=1, max_size=6).map(lambda text: "p" + text)
ITEMS = st.lists(
    st.builds(
        lambda name, arch, old, new: PlanItem(
            name=name, arch=arch, old=old, new=new, origin="Debian", action="upgrade" if old else "install"
        ),
        NAMES,
        st.sampled_from(["amd64", "i386", "all"]),
        st.none() | NAMES,
        NAMES,
    ),
    max_size=8,
    unique_by=lambda item: item.sort_key,
)


def item(**changes: Any) -> dict[str, Any]:
    good = {"name": "sed", "arch": "amd64", "old": "1", "new": "2", "origin": "", "action": "upgrade"}
    return {**good, **changes}


@given(ITEMS, st.randoms(use_true_random=False))
@STEADY
def test_order_of_making_does_not_matter(items: list[PlanItem], random: Any) -> None:
    request = [PackageRef(name=f"r{number}", arch="amd64", version="1") for number in range(4)]
    one = Plan(manager="apt", request=request, items=items)
    random.shuffle(items)
    random.shuffle(request)
    two = Plan(manager="apt", request=request, items=items)
    assert one == two
    assert one.to_bytes() == two.to_bytes()
    assert one.digest == digest(one.to_bytes()) == two.digest
    assert Plan.from_bytes(one.to_bytes()) == one
    assert [(made.name, made.arch) for made in one.items] == sorted((made.name, made.arch) for made in items)


def test_plan_bytes_are_fixed() -> None:
    plan = Plan(
        manager="apt",
        request=[PackageRef(name="sed", arch="amd64", version="2")],
        items=[
            PlanItem(**item(name="zlib")),
            PlanItem(**item()),
            PlanItem(**item(arch="all", old=None, action="install")),
        ],
    )
    assert plan.to_bytes() == (
        b'{"v":1,"manager":"apt","request":[{"name":"sed","arch":"amd64","version":"2"}],"items":['
        b'{"name":"sed","arch":"all","old":null,"new":"2","origin":"","action":"install"},'
        b'{"name":"sed","arch":"amd64","old":"1","new":"2","origin":"","action":"upgrade"},'
        b'{"name":"zlib","arch":"amd64","old":"1","new":"2","origin":"","action":"upgrade"}]}'
    )


@pytest.mark.parametrize("field", ["old", "new", "origin", "action", "name", "arch"])
def test_every_field_changes_the_digest(field: str) -> None:
    other = {"old": "0", "new": "3", "origin": "x", "action": "downgrade", "name": "vim", "arch": "all"}
    one = Plan(manager="apt", request=[], items=[PlanItem(**item())])
    two = Plan(manager="apt", request=[], items=[PlanItem(**item(**{field: other[field]}))])
    assert one.digest != two.digest


def test_other_bytes_of_the_same_plan_are_refused() -> None:
    plan = Plan(manager="apt", request=[], items=[PlanItem(**item()), PlanItem(**item(name="vim"))])
    value = json.loads(plan.to_bytes())
    for other in (
        json.dumps(value).encode(),
        plan.to_bytes() + b"\n",
        json.dumps({**value, "items": value["items"][::-1]}, separators=(",", ":")).encode(),
        json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode(),
    ):
        with pytest.raises(SchemaRefusedError, match="not_canonical"):
            Plan.from_bytes(other)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "remove"},
        {"new": None},
        {"old": None},
        {"old": None, "new": None, "action": "remove"},
        {"old": None, "action": "downgrade"},
        {"action": "purge"},
        {"name": "a\tb"},
    ],
)
def test_change_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError):
        PlanItem.from_object(item(**change))


def test_change_named_twice_is_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="twice"):
        Plan.from_object({"v": 1, "manager": "apt", "request": [], "items": [item(), item(origin="other")]})


def test_several_versions_of_one_package_may_change_at_once() -> None:
    items = [item(name="kernel", old=None, action="install"), item(name="kernel", new=None, action="remove")]
    assert len(Plan.from_object({"v": 1, "manager": "dnf", "request": [], "items": items}).items) == 2


def test_plan_result_carries_the_plans_bytes() -> None:
    plan = Plan(manager="apt", request=[], items=[PlanItem(**item())])
    result = PlanResult.from_object({"type": "plan", "plan_b64": "e30=", "download_bytes": 1, "problems": []})
    assert result.plan_bytes == b"{}"
    with pytest.raises(SchemaRefusedError):
        _ = result.plan
    with pytest.raises(SchemaRefusedError):
        PlanResult.from_object({"type": "plan", "plan_b64": "e30", "download_bytes": 1, "problems": []})
    assert Plan.from_bytes(plan.to_bytes()) == plan
