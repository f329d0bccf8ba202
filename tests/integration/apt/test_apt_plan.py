import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.apt_plan import plan_within
from redflag_scanner_agent.packages.apt_survey import survey
from redflag_scanner_agent.packages.errors import (
    HeldError,
    NotAvailableError,
    UnresolvableError,
)
from redflag_wire.command_params import PackageRef
from redflag_wire.report_bodies import Inventory, Plan
from tests.support.apt_bed import AptBed


def ref(name: str, version: str, arch: str = "all") -> PackageRef:
    return PackageRef(name=name, arch=arch, version=version)


def refs(inventory: Inventory) -> list[PackageRef]:
    return [ref(item.name, item.candidate, item.arch) for item in inventory.updates]


def rows(plan: Plan) -> list[tuple[str, str | None, str | None, str]]:
    return [(item.name, item.old, item.new, item.action) for item in plan.items]


async def test_plan_of_one_update_is_that_update(one_update: AptBed, manager: AptManager) -> None:
    plan = await manager.plan([ref("demo", "2.0")])
    assert rows(plan) == [("demo", "1.0", "2.0", "upgrade")]
    assert plan.items[0].origin == "localhost/bed"
    assert one_update.installed("demo") == "1.0"


async def test_plan_names_the_new_dependency(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("demo", "2.1", depends="newdep")
    one_update.publish("newdep", "1.0", security=True)
    one_update.refresh()
    plan = await manager.plan([ref("demo", "2.1")])
    assert rows(plan) == [("demo", "1.0", "2.1", "upgrade"), ("newdep", None, "1.0", "install")]
    assert plan.items[1].origin == "localhost/bed-security"


async def test_plan_of_everything_in_the_inventory_accepts_what_is_dragged_in(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("demo", "2.1", depends="newdep")
    one_update.publish("newdep", "1.0")
    plan = await manager.plan(refs(await manager.scan(refresh=True)))
    assert [row[0] for row in rows(plan)] == ["demo", "newdep"]


async def test_plan_leaves_other_updates_alone(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("other", "1.0")
    one_update.refresh()
    one_update.install("other")
    one_update.publish("other", "2.0")
    one_update.refresh()
    assert [row[0] for row in rows(await manager.plan([ref("other", "2.0")]))] == ["other"]


async def test_plan_shows_a_removal(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("oldlib", "0.9")
    one_update.refresh()
    one_update.install("oldlib")
    one_update.publish("demo", "2.1", conflicts="oldlib")
    one_update.refresh()
    plan = await manager.plan([ref("demo", "2.1")])
    assert rows(plan) == [("demo", "1.0", "2.1", "upgrade"), ("oldlib", "0.9", None, "remove")]
    assert plan.items[1].arch == "all"


async def test_plan_is_the_same_to_the_byte_in_any_order(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("other", "1.0")
    one_update.refresh()
    one_update.install("other")
    one_update.publish("other", "2.0")
    one_update.refresh()
    first = await manager.plan([ref("demo", "2.0"), ref("other", "2.0")])
    second = await manager.plan([ref("other", "2.0"), ref("demo", "2.0"), ref("demo", "2.0")])
    assert first.to_bytes() == second.to_bytes()
    assert first.digest == second.digest


async def test_plan_of_a_native_package_uses_its_architecture(bed: AptBed, manager: AptManager) -> None:
    bed.publish("tool", "1.0", arch=bed.native)
    bed.refresh()
    bed.install("tool")
    bed.publish("tool", "1:0.5", arch=bed.native)
    (item,) = (await manager.scan(refresh=True)).updates
    assert (item.arch, item.candidate) == (bed.native, "1:0.5")
    assert rows(await manager.plan(refs(await manager.scan(refresh=False)))) == [
        ("tool", "1.0", "1:0.5", "upgrade")
    ]


async def test_plan_follows_a_change_from_native_to_all(bed: AptBed, manager: AptManager) -> None:
    bed.publish("tool", "1.0", arch=bed.native)
    bed.refresh()
    bed.install("tool")
    bed.publish("tool", "2.0")
    inventory = await manager.scan(refresh=True)
    assert [(item.arch, item.installed) for item in inventory.updates] == [("all", "1.0")]
    assert rows(await manager.plan(refs(inventory))) == [("tool", "1.0", "2.0", "upgrade")]


async def test_plan_of_a_downgrade_by_pin_says_so(one_update: AptBed, manager: AptManager) -> None:
    one_update.install("demo", "2.0")
    pin = "Package: demo\nPin: version 1.0\nPin-Priority: 1001\n"
    one_update.path("etc/apt/preferences.d/pin").write_text(pin)
    plan = await manager.plan(refs(await manager.scan(refresh=False)))
    assert rows(plan) == [("demo", "2.0", "1.0", "downgrade")]


@pytest.mark.parametrize(
    "request_",
    [
        ref("demo", "9.9"),  # a version that nobody has
        ref("demo", "1.0"),  # what is installed already
        ref("demo", "2.0", "i386"),  # another architecture
        ref("other", "1.0"),  # in the archive, but neither installed nor needed
        ref("nosuch", "1.0"),
    ],
    ids=lambda one: f"{one.name}:{one.arch}={one.version}",
)
async def test_plan_of_what_is_not_offered_is_refused(
    one_update: AptBed, manager: AptManager, request_: PackageRef
) -> None:
    one_update.publish("other", "1.0")
    one_update.refresh()
    with pytest.raises(NotAvailableError) as refused:
        await manager.plan([ref("demo", "2.0"), request_])
    assert refused.value.code == "not_available"
    assert request_.version in refused.value.detail


async def test_plan_of_nothing_is_refused(one_update: AptBed, manager: AptManager) -> None:
    with pytest.raises(NotAvailableError):
        await manager.plan([])


async def test_plan_of_a_held_package_is_refused(one_update: AptBed, manager: AptManager) -> None:
    one_update.hold("demo")
    with pytest.raises(HeldError) as refused:
        await manager.plan([ref("demo", "2.0")])
    assert "demo" in refused.value.detail


async def test_plan_that_apt_cannot_resolve_is_refused(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("demo", "2.1", depends="nowhere-to-be-found")
    one_update.refresh()
    with pytest.raises(UnresolvableError) as refused:
        await manager.plan([ref("demo", "2.1")])
    assert refused.value.detail


async def test_plan_accepts_a_phased_version_by_name(bed: AptBed, manager: AptManager) -> None:
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0", phased=0)
    assert rows(await manager.plan(refs(await manager.scan(refresh=True)))) == [
        ("demo", "1.0", "2.0", "upgrade")
    ]


async def test_plan_that_apt_would_leave_incomplete_is_refused(
    one_update: AptBed, manager: AptManager
) -> None:
    found = await survey(manager._runner)
    # Somebody else installs it between the look and the simulation: apt then has nothing to do and says success.
    one_update.install("demo", "2.0")
    with pytest.raises(UnresolvableError) as refused:
        await plan_within(manager._runner, [ref("demo", "2.0")], found)
    assert "demo" in refused.value.detail
