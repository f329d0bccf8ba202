from collections.abc import Callable
from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.errors import PinnedError
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report_bodies import Inventory, UpdateItem
from tests.support.apt_bed import AptBed, build_bed, require_tools


def by_name(inventory: Inventory) -> dict[str, UpdateItem]:
    return {item.name: item for item in inventory.updates}


@pytest.fixture
def signed(tmp_path: Path) -> AptBed:
    """A signed repository; `demo` 1.0 installed, 2.0 offered in the security suite."""
    require_tools()
    bed = build_bed(tmp_path / "signed", signed=True)
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0", security=True)
    bed.refresh()
    return bed


async def test_verified_signature_makes_a_source_trusted(
    signed: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    (item,) = (await make_manager(signed).scan(refresh=True)).updates
    assert (item.site, item.trusted, item.security, item.severity) == ("", True, True, None)


async def test_source_trusted_only_by_an_option_is_not_verified(
    one_update: AptBed, manager: AptManager
) -> None:
    (item,) = (await manager.scan(refresh=True)).updates
    assert item.trusted is False


async def test_key_that_is_gone_takes_the_trust_of_new_lists_away(
    signed: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    signed.path("etc/apt/bed.gpg").write_bytes(b"")
    sources = signed.path("etc/apt/sources.list")
    sources.write_text(sources.read_text().replace("[", "[allow-insecure=yes "))
    for file in signed.path("var/lib/apt/lists").glob("*InRelease"):
        file.unlink()
    inventory = await make_manager(signed).scan(refresh=True)
    (item,) = inventory.updates
    assert (item.trusted, item.security) == (False, False)
    assert any("NO_PUBKEY" in problem for problem in inventory.problems)


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        ("Package: demo\nPin: version 2*\nPin-Priority: -1\n", "a pin gives 2.0 the priority -1 ({file})"),
        ("Package: dem*\nPin: version 1.0\nPin-Priority: 1001\n",
         "a pin prefers 1.0, with the priority 1001, to 2.0 ({file})"),
        ("Package: *\nPin: release n=bed\nPin-Priority: 50\n", "a pin gives 2.0 the priority 50 ({file})"),
        ('# ours\nPackage: *\nPin: origin ""\nPin-Priority: -5\n\nPackage: x\nPin: version 1\nPin-Priority: 7\n',
         "a pin gives 2.0 the priority -5 ({file})"),
        ("Package: demo\nPin: version *\nPin-Priority: -1\n", "a pin keeps every version of demo away ({file})"),
    ],
)  # fmt: skip
async def test_pin_that_keeps_a_newer_version_away_is_named_with_its_file(
    one_update: AptBed, manager: AptManager, pin: str, words: str
) -> None:
    one_update.pin(pin)
    (item,) = (await manager.scan(refresh=False)).updates
    assert (item.installed, item.candidate, item.state) == ("1.0", "2.0", "pinned")
    assert item.reason == words.format(file=one_update.path("etc/apt/preferences.d/pin"))
    assert item.size == one_update.size("demo", "2.0")
    # apt itself agrees that it would take nothing.
    assert "Inst" not in one_update.apt("-s", "dist-upgrade").stdout
    with pytest.raises(PinnedError) as refused:
        await manager.plan([PackageRef(name="demo", arch="all", version="2.0")])
    assert str(one_update.path("etc/apt/preferences.d/pin")) in refused.value.detail
    assert (await manager.plan([], PlanMode.FULL)).items == []


async def test_pin_in_one_of_several_files_is_not_guessed(one_update: AptBed, manager: AptManager) -> None:
    pin = "Package: demo\nPin: version 2*\nPin-Priority: -1\n"
    one_update.pin(pin, "one")
    one_update.pin(pin, "two")
    (item,) = (await manager.scan(refresh=False)).updates
    assert (item.state, item.reason) == ("pinned", "a pin gives 2.0 the priority -1")


async def test_pin_that_keeps_nothing_away_changes_nothing(one_update: AptBed, manager: AptManager) -> None:
    one_update.pin("Package: demo\nPin: version 2.0\nPin-Priority: 900\n")
    (item,) = (await manager.scan(refresh=False)).updates
    assert (item.state, item.reason) == ("available", None)


async def test_phased_version_says_its_share_and_whether_this_machine_is_in(
    bed: AptBed, manager: AptManager
) -> None:
    for name in ("out", "inside", "done"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("out", "inside", "done"):
        bed.install(name)
    bed.publish("out", "2.0", phased=0)
    bed.publish("inside", "2.0", phased=99)
    bed.publish("done", "2.0", phased=100)
    found = by_name(await manager.scan(refresh=True))
    assert (found["out"].state, found["out"].phased_percent) == ("phased", 0)
    assert found["out"].reason == "the archive gives 2.0 to 0 % of all machines, and not yet to this one"
    assert (found["inside"].state, found["inside"].phased_percent) == ("available", 99)
    assert (found["done"].state, found["done"].phased_percent) == ("available", None)
    lines = bed.apt("-s", "dist-upgrade").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Inst ")] == ["done", "inside"]


async def test_kept_back_says_what_apt_says_of_it(bed: AptBed, manager: AptManager) -> None:
    for name in ("lacking", "lib"):
        bed.publish(name, "1.0")
    bed.publish("tied", "1.0")
    bed.refresh()
    for name in ("lacking", "lib", "tied"):
        bed.install(name)
    bed.hold("lib")
    bed.publish("lacking", "2.0", depends="nowhere-to-be-found (>= 3)")
    bed.publish("lib", "2.0")
    bed.publish("tied", "2.0", depends="lib (>= 2.0)")
    found = by_name(await manager.scan(refresh=True))
    assert {name: item.state for name, item in found.items()} == {
        "lacking": "kept_back", "lib": "held", "tied": "kept_back",
    }  # fmt: skip
    assert found["lacking"].reason == "Depends: nowhere-to-be-found (>= 3) but it is not installable"
    assert (found["tied"].reason or "").startswith("Depends: lib (>= 2.0) but")
    assert found["lib"].reason == "held on this host (apt-mark hold)"


async def test_scan_twice_says_the_same_of_everything(bed: AptBed, manager: AptManager) -> None:
    for name in ("held", "kept", "phased", "plain"):
        bed.publish(name, "1.0")
    bed.refresh()
    for name in ("held", "kept", "phased", "plain"):
        bed.install(name)
    bed.hold("held")
    bed.publish("held", "2.0")
    bed.publish("kept", "2.0", depends="nowhere")
    bed.publish("phased", "2.0", phased=0)
    bed.publish("plain", "2.0", phased=100)
    first = (await manager.scan(refresh=True)).updates
    assert first == (await manager.scan(refresh=True)).updates
