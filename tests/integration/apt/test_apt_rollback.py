import shutil
from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.apt_rollback import CACHED
from redflag_scanner_agent.packages.base import outcome_of
from redflag_scanner_agent.packages.errors import NameRefusedError, NotAvailableError
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import Plan
from tests.support.apt_bed import AptBed

BACK = PackageRef(name="demo", arch="all", version="1.0")


@pytest.fixture
def gone(one_update: AptBed) -> AptBed:
    """`demo` 2.0 installed, and 1.0 in no archive any more."""
    one_update.install("demo", "2.0")
    keep(one_update, one_update.directory / "kept.deb")
    one_update.withdraw("demo", "1.0")
    one_update.refresh()
    return one_update


def keep(bed: AptBed, place: Path, *, version: str = "1.0") -> Path:
    shutil.copy(bed.repo / "pool" / f"demo_{version}_all.deb", place)
    place.chmod(0o644)
    return place


def cached(bed: AptBed) -> Path:
    return bed.path("var/cache/apt/archives/demo_1.0_all.deb")


async def back(manager: AptManager, *refs: PackageRef) -> Plan:
    return await manager.plan(list(refs), PlanMode.ROLLBACK)


async def test_rollback_from_the_package_cache(gone: AptBed, manager: AptManager) -> None:
    shutil.copy(gone.directory / "kept.deb", cached(gone))
    plan = await back(manager, BACK)
    assert [(item.name, item.old, item.new, item.origin, item.action) for item in plan.items] == [
        ("demo", "2.0", "1.0", CACHED, "downgrade")
    ]
    result = await manager.install(plan, lambda _: None)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert gone.everything() == {"demo": "1.0"}


async def test_rollback_of_a_version_with_an_epoch_from_the_package_cache(
    bed: AptBed, manager: AptManager
) -> None:
    bed.publish("demo", "1:1.0")
    bed.publish("demo", "1:2.0")
    bed.refresh()
    bed.install("demo", "1:2.0")
    file = bed.repo / "pool" / "demo_1%3a1.0_all.deb"
    shutil.copy(file, bed.path("var/cache/apt/archives"))
    bed.withdraw("demo", "1:1.0")
    bed.refresh()
    plan = await back(manager, PackageRef(name="demo", arch="all", version="1:1.0"))
    assert outcome_of(await manager.install(plan, lambda _: None)) is Outcome.SUCCEEDED
    assert bed.everything() == {"demo": "1:1.0"}


async def test_rollback_whose_file_went_away_is_drift(gone: AptBed, manager: AptManager) -> None:
    shutil.copy(gone.directory / "kept.deb", cached(gone))
    plan = await back(manager, BACK)
    cached(gone).unlink()
    result = await manager.install(plan, lambda _: None)
    assert outcome_of(result) is Outcome.PLAN_DRIFT
    assert result.drift is not None
    assert [item.name for item in result.drift.missing] == ["demo"]
    assert gone.everything() == {"demo": "2.0"}


@pytest.mark.parametrize(
    "how", ["absent", "writable", "link", "another", "not a package", "directory writable"]
)
async def test_rollback_takes_no_file_that_others_may_have_put_there(
    gone: AptBed, manager: AptManager, how: str
) -> None:
    kept, place = gone.directory / "kept.deb", cached(gone)
    if how == "writable":
        shutil.copy(kept, place)
        place.chmod(0o666)
    elif how == "link":
        place.symlink_to(kept)
    elif how == "another":
        keep(gone, place, version="2.0")  # another version under this one's name
    elif how == "not a package":
        place.write_text("#!/bin/sh\n")
    elif how == "directory writable":
        shutil.copy(kept, place)
        place.parent.chmod(0o777)
    with pytest.raises(NotAvailableError) as refused:
        await back(manager, BACK)
    assert refused.value.code == "not_available"
    assert "demo:all 1.0" in refused.value.detail
    assert gone.everything() == {"demo": "2.0"}


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("demo", "2.0", "not_older"),
        ("demo", "3.0", "not_older"),
        ("demo", "0.1", "not_available"),
        ("nosuch", "1.0", "not_installed"),
    ],
)
async def test_rollback_that_is_none_is_refused(
    one_update: AptBed, manager: AptManager, name: str, version: str, code: str
) -> None:
    one_update.install("demo", "2.0")
    with pytest.raises(NotAvailableError) as refused:
        await back(manager, PackageRef(name=name, arch="all", version=version))
    assert refused.value.code == code
    assert name in refused.value.detail


@pytest.mark.parametrize("name", ["../demo", "/tmp/demo.deb", "demo-", "demo/bed"])
@pytest.mark.parametrize("field", ["name", "version", "arch"])
async def test_rollback_takes_no_path_from_outside(
    one_update: AptBed, manager: AptManager, name: str, field: str
) -> None:
    ref = BACK.model_copy(update={field: name})
    with pytest.raises(NameRefusedError):
        await back(manager, ref)


async def test_rollback_names_what_goes_with_it(one_update: AptBed, manager: AptManager) -> None:
    one_update.install("demo", "2.0")
    one_update.publish("needs", "1.0", depends="demo (>= 2.0)")
    one_update.refresh()
    one_update.install("needs")
    plan = await back(manager, BACK)
    assert [(item.name, item.new, item.action) for item in plan.items] == [
        ("demo", "1.0", "downgrade"),
        ("needs", None, "remove"),
    ]
    result = await manager.install(plan, lambda _: None)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert one_update.everything() == {"demo": "1.0"}


async def test_rollback_works_although_a_pin_leaves_no_candidate(
    one_update: AptBed, manager: AptManager
) -> None:
    one_update.install("demo", "2.0")
    one_update.pin("Package: demo\nPin: version *\nPin-Priority: -1\n")
    plan = await back(manager, BACK)
    assert [(item.name, item.new) for item in plan.items] == [("demo", "1.0")]
