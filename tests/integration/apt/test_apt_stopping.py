"""What ends an installation before it has begun: the operator, a lock, a dpkg that was cut off."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.base import outcome_of
from redflag_scanner_agent.packages.errors import (
    CancelledByOperatorError,
    DatabaseInterruptedError,
    LockHeldError,
    UntrustedSourceError,
)
from redflag_scanner_agent.packages.run_lock import LOCK_FILE
from redflag_wire.command_params import PlanMode
from redflag_wire.report import Outcome
from tests.support.apt_bed import AptBed, build_bed, require_tools
from tests.support.apt_situations import CUT_OFF, interrupted
from tests.support.lock_holder import holder_of


@pytest.fixture
def cut_off(tmp_path: Path) -> AptBed:
    """`other` 2.0 whose dpkg was killed in its script; `demo` 1.0 with 2.0 offered."""
    require_tools()
    bed = build_bed(tmp_path / "cut-off", locking=True)
    interrupted(bed)
    return bed


@pytest.mark.parametrize("stop_at", ["simulate", "download", "install"])
async def test_stop_before_dpkg_changes_nothing(
    one_update: AptBed, manager: AptManager, stop_at: str
) -> None:
    plan = await manager.plan([], PlanMode.FULL)
    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if step == stop_at:
            raise CancelledByOperatorError("stopped by alice")

    with pytest.raises(CancelledByOperatorError) as stopped:
        await manager.install(plan, on_step)
    assert stopped.value.code == "cancelled"
    assert steps == ["simulate", "download", "install"][: len(steps)]
    assert steps[-1] == stop_at
    assert one_update.everything() == {"demo": "1.0"}
    assert await manager.probe(plan) is Outcome.FAILED
    # And the host is free for the next one.
    assert outcome_of(await manager.install(plan, lambda _: None)) is Outcome.SUCCEEDED


async def test_download_has_everything_before_the_step_install(
    tmp_path: Path, make_manager: Callable[..., AptManager]
) -> None:
    require_tools()
    bed = build_bed(tmp_path / "copying", method="copy")
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    bed.refresh()
    manager = make_manager(bed)
    plan = await manager.plan([], PlanMode.FULL)
    (file,) = bed.repo.glob("pool/demo_2.0_*.deb")
    assert await manager.download_bytes(plan) == file.stat().st_size

    def on_step(step: str) -> None:
        if step == "install":
            bed.take_mirror_away()

    assert bed.everything() == {"demo": "1.0"}
    assert outcome_of(await manager.install(plan, on_step)) is Outcome.SUCCEEDED
    assert bed.everything() == {"demo": "2.0"}


async def test_cut_off_dpkg_is_refused_with_what_to_do(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off)
    assert any(
        problem.startswith("dpkg_interrupted: ") for problem in (await manager.scan(refresh=False)).problems
    )
    plan = await manager.plan([], PlanMode.FULL)
    before = cut_off.everything()
    steps: list[str] = []
    with pytest.raises(DatabaseInterruptedError) as refused:
        await manager.install(plan, steps.append)
    assert refused.value.code == "dpkg_interrupted"
    assert "dpkg --configure -a" in refused.value.detail
    assert "repair_interrupted = true" in refused.value.detail
    assert (steps, cut_off.everything()) == ([], before)


async def test_cut_off_dpkg_is_repaired_where_allowed_and_told(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off)
    plan = await manager.plan([], PlanMode.FULL)
    steps: list[str] = []
    result = await manager.install(plan, steps.append, repair=True)
    assert steps == ["repair", "simulate", "download", "install", "verify"]
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert result.repaired is not None
    assert "finished: other 2.0" in result.repaired
    assert cut_off.everything() == {"demo": "2.0", "other": "2.0"}


async def test_scripts_of_a_repair_do_not_inherit_the_run_s_lock(
    tmp_path: Path, make_manager: Callable[..., AptManager]
) -> None:
    # A daemon that such a script starts would keep every later installation out.
    require_tools()
    seen = tmp_path / "seen"
    bed = build_bed(tmp_path / "cut-off", locking=True)
    bed.publish("other", "1.0", scripts={"postinst": f"{CUT_OFF}\nls -l /proc/$$/fd > {seen}"})
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    bed.refresh()
    bed.apt("install", "-y", "other", check=False)
    manager = make_manager(bed)
    result = await manager.install(await manager.plan([], PlanMode.FULL), lambda _: None, repair=True)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert "install.stdout" in seen.read_text()
    assert LOCK_FILE not in seen.read_text()


async def test_repair_can_be_stopped_before_it_begins(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off)
    plan = await manager.plan([], PlanMode.FULL)
    before = cut_off.everything()

    def on_step(step: str) -> None:
        raise CancelledByOperatorError(f"stopped at {step}")

    with pytest.raises(CancelledByOperatorError, match="repair"):
        await manager.install(plan, on_step, repair=True)
    assert cut_off.everything() == before


async def test_dpkg_at_work_is_no_dpkg_cut_off(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off, lock_wait_s=1)
    plan = await manager.plan([], PlanMode.FULL)
    with holder_of(cut_off.path("var/lib/dpkg/lock")) as process:
        inventory = await manager.scan(refresh=False)
        assert not any(problem.startswith("dpkg_interrupted") for problem in inventory.problems)
        for repair in (False, True):
            with pytest.raises(LockHeldError) as refused:
                await manager.install(plan, lambda _: None, repair=repair)
            assert str(process.pid) in refused.value.holder


async def test_repair_that_does_not_help_is_refused(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off)
    plan = await manager.plan([], PlanMode.FULL)
    text = cut_off.config.read_text()
    cut_off.config.write_text(
        text.replace('"--force-not-root";', '"--force-not-root";\n  "--no-such-option";')
    )
    with pytest.raises(DatabaseInterruptedError) as refused:
        await make_manager(cut_off).install(plan, lambda _: None, repair=True)
    assert "did not help" in refused.value.detail


async def test_packages_that_nobody_vouches_for_are_not_installed(
    tmp_path: Path, make_manager: Callable[..., AptManager]
) -> None:
    require_tools()
    bed = build_bed(tmp_path / "unsigned")
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    sources = bed.path("etc/apt/sources.list")
    sources.write_text(sources.read_text().replace("trusted=yes", "allow-insecure=yes"))
    manager = make_manager(bed)
    (item,) = (await manager.scan(refresh=True)).updates
    assert item.trusted is False
    plan = await manager.plan([], PlanMode.FULL)
    with pytest.raises(UntrustedSourceError):
        await manager.install(plan, lambda _: None)
    assert bed.everything() == {"demo": "1.0"}


async def test_result_says_reboot_and_services(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    async def services() -> Sequence[str]:
        return ["ssh.service", "cron\n.service"]

    one_update.publish("demo", "2.1", scripts={"postinst": ': > "$DPKG_ROOT/var/run/reboot-required"'})
    one_update.refresh()
    manager = make_manager(one_update, services=services)
    result = await manager.install(await manager.plan([], PlanMode.FULL), lambda _: None)
    assert result.reboot_required
    assert result.services_to_restart == ["ssh.service", "cron .service"]


async def test_look_at_services_that_fails_costs_nothing_but_itself(
    one_update: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    async def services() -> Sequence[str]:
        raise OSError("needrestart is broken")

    manager = make_manager(one_update, services=services)
    result = await manager.install(await manager.plan([], PlanMode.FULL), lambda _: None)
    assert outcome_of(result) is Outcome.SUCCEEDED
    assert "needrestart is broken" in result.stderr
    assert (result.reboot_required, result.services_to_restart) == (False, [])


async def test_program_that_holds_dpkg_s_lock_is_at_work(
    cut_off: AptBed, make_manager: Callable[..., AptManager]
) -> None:
    manager = make_manager(cut_off)
    assert await manager.at_work() is None
    with holder_of(cut_off.path("var/lib/dpkg/lock-frontend")):
        assert "process " in (await manager.at_work() or "")
    assert await manager.at_work() is None
