from collections.abc import Callable

from redflag_scanner_agent.packages.apt import AptManager
from redflag_wire.report_bodies import Inventory
from tests.integration.apt.conftest import START
from tests.support.apt_bed import AptBed


def states(inventory: Inventory) -> dict[str, str]:
    return {item.name: item.state for item in inventory.updates}


async def test_scan_of_an_up_to_date_host_lists_nothing(bed: AptBed, manager: AptManager) -> None:
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    inventory = await manager.scan(refresh=True)
    assert inventory.updates == []
    assert inventory.problems == []
    assert inventory.scanned_at == START


async def test_scan_of_an_empty_host_lists_nothing(bed: AptBed, manager: AptManager) -> None:
    inventory = await manager.scan(refresh=False)
    assert (inventory.updates, inventory.problems, inventory.source_age_s) == ([], [], None)


async def test_scan_lists_an_update_with_everything_known_of_it(
    one_update: AptBed, manager: AptManager
) -> None:
    (item,) = (await manager.scan(refresh=False)).updates
    assert (item.manager, item.name, item.arch) == ("apt", "demo", "all")
    assert (item.installed, item.candidate, item.state) == ("1.0", "2.0", "available")
    assert (item.origin, item.suite, item.security) == ("localhost", "bed", False)
    assert item.size == one_update.size("demo", "2.0")


async def test_scan_sees_a_new_version_only_after_a_refresh(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("demo", "3.0")
    assert [item.candidate for item in (await manager.scan(refresh=False)).updates] == ["2.0"]
    assert [item.candidate for item in (await manager.scan(refresh=True)).updates] == ["3.0"]


async def test_scan_knows_security_by_suite_and_passes_over_newer_ordinary_versions(
    bed: AptBed, manager: AptManager
) -> None:
    for name in ("fixed", "passed", "plain"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("fixed", "passed", "plain"):
        bed.install(name)
    bed.publish("fixed", "1.1", security=True)
    bed.publish("passed", "1.1", security=True)
    bed.publish("passed", "1.2")
    bed.publish("plain", "1.1")
    inventory = await manager.scan(refresh=True)
    found = {item.name: (item.candidate, item.suite, item.security) for item in inventory.updates}
    assert found == {
        "fixed": ("1.1", "bed-security", True),
        "passed": ("1.2", "bed", True),
        "plain": ("1.1", "bed", False),
    }


async def test_scan_does_not_believe_security_of_an_untrusted_site(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.publish("demo", "2.1", security=True)
    text = one_update.config.read_text()
    one_update.config.write_text(text.replace('RedFlag::Security-Sites { "localhost"; };', ""))
    (item,) = (await manager.scan(refresh=True)).updates
    assert (item.suite, item.security) == ("bed-security", False)


async def test_scan_marks_what_an_update_drags_in(one_update: AptBed, manager: AptManager) -> None:
    one_update.publish("demo", "2.1", depends="newdep")
    one_update.publish("newdep", "1.0")
    inventory = await manager.scan(refresh=True)
    assert {item.name: item.installed for item in inventory.updates} == {"demo": "1.0", "newdep": None}


async def test_scan_names_held_kept_back_and_phased(bed: AptBed, manager: AptManager) -> None:
    names = ("held", "kept", "phased", "plain")
    for name in names:
        bed.publish(name, "1.0")
    bed.refresh()
    for name in names:
        bed.install(name)
    bed.hold("held")
    bed.publish("held", "2.0")
    bed.publish("kept", "2.0", depends="nowhere-to-be-found")
    bed.publish("phased", "2.0", phased=0)
    bed.publish("plain", "2.0", phased=100)
    inventory = await manager.scan(refresh=True)
    assert states(inventory) == {
        "held": "held",
        "kept": "kept_back",
        "phased": "phased",
        "plain": "available",
    }
    # apt itself agrees on what would change.
    lines = bed.apt("-s", "dist-upgrade").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Inst ")] == ["plain"]


async def test_scan_tells_of_removals_and_broken_packages(bed: AptBed, manager: AptManager) -> None:
    for name in ("app", "oldlib", "broken"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("app", "oldlib", "broken"):
        bed.install(name)
    bed.publish("app", "2.0", conflicts="oldlib")
    bed.publish("broken", "2.0", scripts={"postinst": "exit 1"})
    bed.refresh()
    bed.apt("install", "-y", "broken", check=False)
    inventory = await manager.scan(refresh=False)
    assert any(
        problem.startswith("broken: broken:all 2.0 is half-configured") for problem in inventory.problems
    )
    if states(inventory)["app"] == "available":
        assert "removal: a full upgrade would remove oldlib 1.0" in inventory.problems


async def test_scan_of_a_mirror_that_is_away_is_a_problem_not_a_failure(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.take_mirror_away()
    inventory = await manager.scan(refresh=True)
    assert [item.candidate for item in inventory.updates] == ["2.0"]
    assert inventory.problems
    assert all(problem.startswith("mirror_unreachable: ") for problem in inventory.problems)
    assert str(one_update.repo) in inventory.problems[0]
    one_update.bring_mirror_back()
    assert (await manager.scan(refresh=True)).problems == []


async def test_scan_without_rights_does_not_refresh(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(one_update)
    manager._has_rights = False
    one_update.publish("demo", "3.0")
    inventory = await manager.scan(refresh=True)
    assert [item.candidate for item in inventory.updates] == ["2.0"]
    assert [problem.partition(":")[0] for problem in inventory.problems] == ["refresh_not_permitted"]


async def test_scan_tells_a_required_reboot(one_update: AptBed, manager: AptManager) -> None:
    assert not (await manager.scan(refresh=False)).reboot_required
    one_update.require_reboot()
    assert (await manager.scan(refresh=False)).reboot_required


async def test_scan_tells_the_age_of_the_lists(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(one_update, clock=None)
    assert (await manager.scan(refresh=True)).source_age_s in range(5)
    for trace in (one_update.path("var/lib/apt/lists"), manager._work_dir / "apt-refreshed"):
        one_update.age(trace, 1000)
    assert (await manager.scan(refresh=False)).source_age_s in range(1000, 1010)


async def test_scan_of_a_wide_update_stays_whole(bed: AptBed, manager: AptManager) -> None:
    names = [f"wide{number:02}" for number in range(30)]
    bed.publish_many([(name, "1.0") for name in names])
    bed.refresh()
    bed.apt("install", "-y", *names)
    bed.publish_many([(name, "2.0") for name in names])
    inventory = await manager.scan(refresh=True)
    assert [item.name for item in inventory.updates] == names
