import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.base import difference, outcome_of
from redflag_scanner_agent.packages.errors import (
    InstallRefusedError,
    LockHeldError,
    MirrorUnreachableError,
)
from redflag_scanner_agent.packages.run_lock import LOCK_FILE, earlier_run
from redflag_wire.command_params import PackageRef
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import InstallResult, Plan
from tests.support.apt_bed import AptBed, build_bed, require_tools
from tests.support.lock_holder import holder_of


async def planned(manager: AptManager, *names: str) -> Plan:
    inventory = await manager.scan(refresh=True)
    return await manager.plan(
        [
            PackageRef(name=item.name, arch=item.arch, version=item.candidate)
            for item in inventory.updates
            if not names or item.name in names
        ]
    )


async def installed(manager: AptManager, plan: Plan) -> InstallResult:
    return await manager.install(plan, lambda _: None)


async def test_install_of_one_update_changes_exactly_that(one_update: AptBed, manager: AptManager) -> None:
    steps: list[str] = []
    plan = await planned(manager)
    assert await manager.probe(plan) is Outcome.FAILED
    result = await manager.install(plan, steps.append)
    assert steps == ["simulate", "download", "install", "verify"]
    assert [(item.name, item.old, item.new, item.ok) for item in result.items] == [
        ("demo", "1.0", "2.0", True)
    ]
    assert (result.exit_code, result.drift, result.conffiles_kept) == (0, None, [])
    assert "Unpacking demo (2.0) over (1.0)" in result.stdout
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert await manager.probe(plan) is Outcome.SUCCEEDED
    assert one_update.installed("demo") == "2.0"
    assert (await manager.scan(refresh=False)).updates == []


async def test_install_of_one_of_two_updates_leaves_the_other(bed: AptBed, manager: AptManager) -> None:
    for name in ("one", "two"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("one", "two"):
        bed.install(name)
        bed.publish(name, "2.0")
    await installed(manager, await planned(manager, "two"))
    assert (bed.installed("one"), bed.installed("two")) == ("1.0", "2.0")


async def test_install_of_two_updates_is_one_transaction(bed: AptBed, manager: AptManager) -> None:
    for name in ("one", "two"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("one", "two"):
        bed.install(name)
        bed.publish(name, "2.0")
    result = await installed(manager, await planned(manager))
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert (bed.installed("one"), bed.installed("two")) == ("2.0", "2.0")
    assert bed.path("var/log/apt/history.log").read_text().count("Commandline: ") == 3


async def test_install_brings_the_new_dependency_and_keeps_it_automatic(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("demo", "2.1", depends="newdep")
    one_update.publish("newdep", "1.0")
    result = await installed(manager, await planned(manager))
    assert [(item.name, item.ok) for item in result.items] == [("demo", True), ("newdep", True)]
    assert one_update.installed("newdep") == "1.0"
    assert one_update.auto() == {"newdep"}


async def test_install_keeps_an_automatic_package_automatic(one_update: AptBed, manager: AptManager) -> None:
    one_update.mark_auto("demo")
    await installed(manager, await planned(manager))
    assert one_update.installed("demo") == "2.0"
    assert one_update.auto() == {"demo"}


async def test_install_removes_only_what_the_plan_lists(one_update: AptBed, manager: AptManager) -> None:
    for name in ("oldlib", "bystander"):
        one_update.publish(name, "0.9")
    one_update.refresh()
    for name in ("oldlib", "bystander"):
        one_update.install(name)
    one_update.publish("demo", "2.1", conflicts="oldlib")
    plan = await planned(manager)
    result = await installed(manager, plan)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert [(item.name, item.new, item.ok) for item in result.items] == [
        ("demo", "2.1", True),
        ("oldlib", None, True),
    ]
    assert (one_update.installed("oldlib"), one_update.installed("bystander")) == (None, "0.9")


async def test_install_keeps_a_changed_conffile_and_names_it(bed: AptBed, manager: AptManager) -> None:
    files = ("etc/changed.conf", "etc/untouched.conf")
    bed.publish("demo", "1.0", conffiles=dict.fromkeys(files, "value=1\n"))
    bed.refresh()
    bed.install("demo")
    bed.path("etc/changed.conf").write_text("value=mine\n")
    bed.publish("demo", "2.0", conffiles=dict.fromkeys(files, "value=2\n"))
    result = await installed(manager, await planned(manager))
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert result.conffiles_kept == ["/etc/changed.conf"]
    assert bed.path("etc/changed.conf").read_text() == "value=mine\n"
    assert bed.path("etc/changed.conf.dpkg-dist").read_text() == "value=2\n"
    assert bed.path("etc/untouched.conf").read_text() == "value=2\n"


async def test_install_with_a_failing_script_is_partial_and_tells_dpkgs_state(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("good", "1.0")
    one_update.refresh()
    one_update.install("good")
    one_update.publish("good", "2.0")
    one_update.publish("demo", "2.1", scripts={"postinst": "echo out of cheese >&2; exit 3"})
    plan = await planned(manager)
    result = await installed(manager, plan)
    assert one_update.status("demo") == ("half-configured", "2.1")
    assert result.exit_code == 100
    assert [(item.name, item.new, item.ok) for item in result.items] == [
        ("demo", "2.1", False),
        ("good", "2.0", True),
    ]
    assert "out of cheese" in result.stderr
    assert "demo:all should be installed 2.1, dpkg says half-configured 2.1" in result.stderr
    assert outcome_of(result) is Outcome.PARTIAL
    assert await manager.probe(plan) is Outcome.PARTIAL


async def test_install_that_fails_before_any_change_is_failed(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("demo", "2.1", scripts={"preinst": "exit 4"})
    plan = await planned(manager)
    result = await installed(manager, plan)
    assert one_update.installed("demo") == "1.0"
    assert [(item.new, item.ok) for item in result.items] == [("1.0", False)]
    assert outcome_of(result) is Outcome.FAILED
    assert await manager.probe(plan) is Outcome.FAILED


async def test_install_beside_a_package_that_was_broken_before_is_partial(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("broken", "1.0", scripts={"postinst": "exit 1"})
    one_update.refresh()
    one_update.apt("install", "-y", "broken", check=False)
    plan = await planned(manager)
    result = await installed(manager, plan)
    assert one_update.installed("demo") == "2.0"
    assert [item.ok for item in result.items] == [True]
    assert outcome_of(result) is Outcome.PARTIAL


async def test_install_stops_with_drift_when_a_newer_version_appeared(
    one_update: AptBed, manager: AptManager
) -> None:
    plan = await planned(manager)
    one_update.publish("demo", "3.0", depends="newdep")
    one_update.publish("newdep", "1.0")
    one_update.withdraw("demo", "2.0")
    one_update.refresh()
    result = await installed(manager, plan)
    assert result.drift is not None
    assert [(item.name, item.new) for item in result.drift.changed] == [("demo", "3.0")]
    assert [(item.name, item.new) for item in result.drift.extra] == [("newdep", "1.0")]
    assert result.drift.missing == []
    assert result.items == []
    assert outcome_of(result) is Outcome.PLAN_DRIFT
    assert one_update.installed("demo") == "1.0"


async def test_install_stops_with_drift_although_the_old_version_is_still_there(
    one_update: AptBed, manager: AptManager
) -> None:
    plan = await planned(manager)
    one_update.publish("demo", "3.0")
    one_update.refresh()
    result = await installed(manager, plan)
    assert result.drift is not None
    assert one_update.installed("demo") == "1.0"


async def test_install_stops_with_drift_when_the_same_version_needs_more(
    one_update: AptBed, manager: AptManager
) -> None:
    plan = await planned(manager)
    one_update.publish("demo", "2.0", depends="newdep")
    one_update.publish("newdep", "1.0")
    one_update.refresh()
    result = await installed(manager, plan)
    assert result.drift is not None
    assert [item.name for item in result.drift.extra] == ["newdep"]
    assert (one_update.installed("demo"), one_update.installed("newdep")) == ("1.0", None)


@pytest.mark.parametrize("event", ["done", "held", "withdrawn"])
async def test_install_stops_with_drift_when_the_plan_lost_its_ground(
    one_update: AptBed, manager: AptManager, event: str
) -> None:
    plan = await planned(manager)
    if event == "done":
        one_update.install("demo", "2.0")
    elif event == "held":
        one_update.hold("demo")
    else:
        one_update.withdraw("demo", "2.0")
        one_update.refresh()
    before = one_update.installed("demo")
    result = await installed(manager, plan)
    assert result.drift is not None
    assert [item.name for item in result.drift.missing] == ["demo"]
    assert one_update.installed("demo") == before


async def test_difference_of_equal_plans_is_none(one_update: AptBed, manager: AptManager) -> None:
    assert difference(await planned(manager), await planned(manager)) is None


async def test_install_with_the_mirror_away_changes_nothing_and_says_why(
    one_update: AptBed, manager: AptManager
) -> None:
    plan = await planned(manager)
    one_update.take_mirror_away()
    with pytest.raises(MirrorUnreachableError) as refused:
        await installed(manager, plan)
    assert refused.value.code == "mirror_unreachable"
    assert "demo" in refused.value.detail
    assert one_update.installed("demo") == "1.0"
    assert await manager.probe(plan) is Outcome.FAILED


async def test_install_that_may_not_is_refused(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(one_update, can_install=False)
    plan = await planned(manager)
    assert not manager.capabilities().can_install
    assert manager.capabilities().reason
    with pytest.raises(InstallRefusedError):
        await installed(manager, plan)
    assert one_update.installed("demo") == "1.0"


async def test_install_refuses_the_plan_of_another_manager(one_update: AptBed, manager: AptManager) -> None:
    plan = (await planned(manager)).model_copy(update={"manager": "dnf"})
    with pytest.raises(InstallRefusedError):
        await installed(manager, plan)
    with pytest.raises(InstallRefusedError):
        await manager.probe(plan)


async def test_install_over_time_is_ended_and_judged_by_dpkg(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(one_update, install_timeout_s=0.5)
    one_update.publish("demo", "2.1", scripts={"postinst": "sleep 30"})
    plan = await planned(manager)
    result = await installed(manager, plan)
    assert "was ended" in result.stderr
    assert [(item.new, item.ok) for item in result.items] == [("2.1", False)]
    assert outcome_of(result) is Outcome.PARTIAL


async def test_probe_without_a_database_is_unknown(one_update: AptBed, manager: AptManager) -> None:
    plan = await planned(manager)
    one_update.path("var/lib/dpkg/status").unlink()
    assert await manager.probe(plan) is Outcome.UNKNOWN


async def test_lock_held_by_another_program_is_named(
    tmp_path: Path, make_manager: Callable[..., AptManager]
) -> None:
    require_tools()
    bed = build_bed(tmp_path / "locking", locking=True)
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    manager = make_manager(bed, probe_wait_s=0.3, lock_wait_s=1)
    plan = await planned(manager)
    with holder_of(bed.path("var/lib/dpkg/lock-frontend")) as process:
        with pytest.raises(LockHeldError) as refused:
            await installed(manager, plan)
        assert str(process.pid) in refused.value.holder
        assert refused.value.code == "lock_held"
        # Somebody is at work: what came of the plan cannot be told yet.
        assert await manager.probe(plan) is Outcome.UNKNOWN
    assert bed.installed("demo") == "1.0"
    assert await manager.probe(plan) is Outcome.FAILED
    assert outcome_of(await installed(manager, plan)) is Outcome.SUCCEEDED


async def test_run_that_outlives_its_helper_is_waited_for_and_never_called_failed(
    tmp_path: Path, make_manager: Callable[..., AptManager]
) -> None:
    require_tools()
    bed = build_bed(tmp_path / "locking", locking=True)
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    plan = await planned(make_manager(bed))
    with contextlib.ExitStack() as stack:

        def take_the_lock(step: str) -> None:
            if step == "install":  # the download has let go of it, and apt-get is about to take it again
                stack.enter_context(holder_of(bed.path("var/lib/dpkg/lock-frontend")))

        lost = asyncio.create_task(make_manager(bed).install(plan, take_the_lock))
        async with asyncio.timeout(30):
            while earlier_run(tmp_path / "work") is None:  # noqa: ASYNC110 - a file lock tells nobody
                await asyncio.sleep(0.05)
        lost.cancel()  # as when the helper dies: apt-get goes on, and waits for the lock
        await asyncio.gather(lost, return_exceptions=True)
        hasty = make_manager(bed, probe_wait_s=0.3)
        assert await hasty.probe(plan) is Outcome.UNKNOWN
        with pytest.raises(LockHeldError) as refused:
            await installed(hasty, plan)
        assert refused.value.code == "lock_held"
        assert "earlier run of this agent" in refused.value.detail
    # Nobody holds dpkg's lock now; the run of before is about to take it.
    assert await make_manager(bed).probe(plan) is Outcome.SUCCEEDED
    assert bed.installed("demo") == "2.0"
    assert earlier_run(tmp_path / "work") is None


async def test_maintainer_scripts_do_not_inherit_the_run_s_lock(
    one_update: AptBed, manager: AptManager, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    one_update.publish("demo", "2.1", scripts={"postinst": f"ls -l /proc/$$/fd > {seen}"})
    plan = await planned(manager)
    assert outcome_of(await installed(manager, plan)) is Outcome.SUCCEEDED
    assert "install.stdout" in seen.read_text()
    assert LOCK_FILE not in seen.read_text()
    assert (tmp_path / "work" / LOCK_FILE).is_file()
