import pytest

from redflag_scanner_agent.packages import apt_install
from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.base import outcome_of
from redflag_scanner_agent.packages.errors import NotAvailableError
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import InstallResult, Plan
from tests.support.apt_bed import AptBed


def rows(plan: Plan) -> list[tuple[str, str | None, str | None, str]]:
    return [(item.name, item.old, item.new, item.action) for item in plan.items]


async def installed(manager: AptManager, plan: Plan) -> InstallResult:
    return await manager.install(plan, lambda _: None)


async def test_full_upgrade_removes_what_its_plan_lists_and_leaves_the_rest(
    bed: AptBed, manager: AptManager
) -> None:
    for name in ("app", "oldlib", "held", "phased"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("app", "oldlib", "held", "phased"):
        bed.install(name)
    bed.hold("held")
    bed.publish("app", "2.0", depends="newlib", fields={"Breaks": "oldlib (<< 2.0)", "Replaces": "oldlib"})
    bed.publish("newlib", "1.0")
    bed.publish("held", "2.0")
    bed.publish("phased", "2.0", phased=0)
    bed.refresh()
    plan = await manager.plan([], PlanMode.FULL)
    assert rows(plan) == [
        ("app", "1.0", "2.0", "upgrade"),
        ("newlib", None, "1.0", "install"),
        ("oldlib", "1.0", None, "remove"),
    ]
    assert (plan.mode, plan.request) == (PlanMode.FULL, [])
    result = await installed(manager, plan)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert bed.everything() == {"app": "2.0", "newlib": "1.0", "held": "1.0", "phased": "1.0"}
    assert "newlib" in bed.auto()


async def test_security_takes_the_candidate_with_what_it_needs_and_nothing_else(
    bed: AptBed, manager: AptManager
) -> None:
    for name in ("fixed", "passed", "plain", "held"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("fixed", "passed", "plain", "held"):
        bed.install(name)
    bed.hold("held")
    bed.publish("fixed", "1.1", security=True, depends="newdep")
    bed.publish("newdep", "1.0")
    bed.publish("passed", "1.1", security=True)
    bed.publish("passed", "1.2")  # came after the fix, and holds it
    bed.publish("plain", "1.1")
    bed.publish("held", "1.1", security=True)
    bed.refresh()
    plan = await manager.plan([], PlanMode.SECURITY)
    assert rows(plan) == [
        ("fixed", "1.0", "1.1", "upgrade"),
        ("newdep", None, "1.0", "install"),
        ("passed", "1.0", "1.2", "upgrade"),
    ]
    assert outcome_of(await installed(manager, plan)) is Outcome.SUCCEEDED
    assert bed.everything() == {
        "fixed": "1.1", "held": "1.0", "newdep": "1.0", "passed": "1.2", "plain": "1.0",
    }  # fmt: skip


async def test_security_of_a_source_that_nobody_vouches_for_is_none(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("demo", "2.1", security=True)
    text = one_update.config.read_text()
    one_update.config.write_text(text.replace('RedFlag::Security-Sites { "localhost"; };', ""))
    one_update.refresh()
    assert (await manager.plan([], PlanMode.SECURITY)).items == []
    assert rows(await manager.plan([], PlanMode.FULL)) == [("demo", "1.0", "2.1", "upgrade")]


@pytest.mark.parametrize("mode", [PlanMode.SECURITY, PlanMode.FULL])
async def test_modes_that_find_the_packages_take_no_names(
    one_update: AptBed, manager: AptManager, mode: PlanMode
) -> None:
    with pytest.raises(NotAvailableError):
        await manager.plan([PackageRef(name="demo", arch="all", version="2.0")], mode)


async def test_plan_without_items_is_carried_out_by_doing_nothing(
    one_update: AptBed, manager: AptManager
) -> None:
    plan = await manager.plan([], PlanMode.SECURITY)
    steps: list[str] = []
    result = await manager.install(plan, steps.append)
    assert (outcome_of(result), result.exit_code, steps) == (Outcome.SUCCEEDED, None, ["simulate"])
    assert one_update.everything() == {"demo": "1.0"}


async def test_host_that_would_now_remove_more_is_drift(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("other", "1.0")
    one_update.refresh()
    one_update.install("other")
    one_update.mark_auto("other")
    plan = await manager.plan([PackageRef(name="demo", arch="all", version="2.0")])
    with one_update.config.open("a") as config:
        config.write('APT::Get::AutomaticRemove "true";\n')
    result = await installed(manager, plan)
    assert outcome_of(result) is Outcome.PLAN_DRIFT
    assert one_update.everything() == {"demo": "1.0", "other": "1.0"}


async def test_arguments_that_would_do_more_than_the_plan_are_drift(
    one_update: AptBed, manager: AptManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_update.publish("other", "1.0")
    one_update.refresh()
    plan = await manager.plan([PackageRef(name="demo", arch="all", version="2.0")])
    right = apt_install.arguments
    monkeypatch.setattr(apt_install, "arguments", lambda plan, files: [*right(plan, files), "other:all=1.0"])
    result = await installed(manager, plan)
    assert result.drift is not None
    assert [(item.name, item.new) for item in result.drift.extra] == [("other", "1.0")]
    assert one_update.everything() == {"demo": "1.0"}
