"""The real programs: a restart that ends them, cancels, fast mode over a restart, and a disk that is full."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from redflag_wire.report import CommandState, Outcome
from redflag_wire.report_bodies import InventoryChanges, Storage, System
from tests.integration.scanner_agent.test_two_processes import PACKAGES, Agent, enrolled, plan_of
from tests.integration.scanner_agent.test_two_processes import agent as agent  # noqa: PLC0414 - fixtures
from tests.integration.scanner_agent.test_two_processes import gateway as gateway  # noqa: PLC0414
from tests.integration.scanner_agent.test_two_processes import state as state  # noqa: PLC0414
from tests.support.stand_in_gateway import StandInGateway

ALLOWED = {"window": None, "allow_reboot": True, "max_runtime": None}


def restarts(agent: Agent) -> int:
    log = agent.state / "agent" / "restarts.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("point", ["", "reboot.before_ordered", "reboot.after_ordered"])
async def test_restart_happens_at_most_once_and_is_proved(
    agent: Agent, gateway: StandInGateway, point: str
) -> None:
    async with agent.running():
        await enrolled(gateway)
    command = agent.command("reboot", params={"delay_s": 0, "reason": "kernel"}, pol=ALLOWED)
    gateway.send(gateway.fleet.sign(command))
    if point:
        agent.environment["REDFLAG_FAILPOINT"] = f"{point}:kill"
    code, _, err = await agent.finish("run")
    assert code == 1, err
    agent.environment.clear()
    if point != "reboot.after_ordered":
        if point:  # the agent died before the order: it goes on with it, and the machine goes down
            code, _, err = await agent.finish("run")
            assert code == 1, err
        async with agent.running():
            report = await gateway.until(lambda: gateway.done(command.cmd))
        assert (report.result, report.code) == (Outcome.SUCCEEDED, None)
        assert [one.state for one in gateway.of(command.cmd)] == list(CommandState)
    else:
        async with agent.running():  # ordered, and not done: never again
            await gateway.until(lambda: not gateway.queue)
    async with agent.running():
        scan = agent.command(params={"subsystem": "system"})
        gateway.send(gateway.fleet.sign(scan))
        if point == "reboot.after_ordered":  # nothing begins while the host may go down
            await gateway.until(lambda: gateway.of(scan.cmd))
        else:
            await gateway.until(lambda: gateway.done(scan.cmd))
    assert restarts(agent) == (0 if point == "reboot.after_ordered" else 1)
    gateway.check_chain()


async def test_cancel_fast_mode_figures_and_digests_over_the_wire(
    agent: Agent, gateway: StandInGateway
) -> None:
    async with agent.running():
        await enrolled(gateway)
        digest = await plan_of(agent, gateway)
        late = agent.command("reboot", params={"delay_s": 3600}, pol=ALLOWED)
        gateway.send(gateway.fleet.sign(late))
        await gateway.until(lambda: len(gateway.of(late.cmd)) == 2)
        scan = agent.command(params={"subsystem": "all"})  # a restart in its delay holds nobody up
        gateway.send(gateway.fleet.sign(scan))
        report = await gateway.until(lambda: gateway.done(scan.cmd))
        assert report.result is Outcome.SUCCEEDED
        again = agent.command(params={"subsystem": "fake"})
        async with asyncio.timeout(20):
            await confirmed(gateway)
        gateway.send(gateway.fleet.sign(again))
        report = await gateway.until(lambda: gateway.done(again.cmd))
        body = gateway.bodies[report.report]
        assert isinstance(body, InventoryChanges)
        assert (body.base, body.changed, body.gone) == (body.digest, [], [])
        kinds = {type(one) for one in gateway.bodies.values()}
        assert {System, Storage} <= kinds
        unknown = agent.command("install_updates", params={**PACKAGES, "plan_digest": digest})
        for target in (late, unknown):
            cancel = agent.command("cancel", params={"cmd": str(target.cmd)})
            gateway.send(gateway.fleet.sign(cancel))
            report = await gateway.until(partial(gateway.done, cancel.cmd))
            assert report.result is Outcome.SUCCEEDED
        gateway.send(gateway.fleet.sign(unknown))
        report = await gateway.until(lambda: gateway.done(unknown.cmd))
        assert (report.result, report.code) == (Outcome.CANCELLED, "cancelled")
        report = await gateway.until(lambda: gateway.done(late.cmd))
        assert (report.result, report.code) == (Outcome.CANCELLED, "cancelled")
        assert agent.effects() == []
        fast = agent.command("enable_heartbeat", params={"duration_s": 600})
        gateway.send(gateway.fleet.sign(fast))
        await gateway.until(lambda: gateway.done(fast.cmd))
    agent.environment["REDFLAG_AGENT_FAST"] = "0"
    async with agent.running():  # still fast without the local setting: the next long poll brings the command
        await gateway.until(lambda: gateway.calls[-1].endswith("/commands"))
        scan = agent.command(params={"subsystem": "system"})
        gateway.send(gateway.fleet.sign(scan))
        await gateway.until(lambda: gateway.done(scan.cmd))
    assert restarts(agent) == 0
    gateway.check_chain()


async def confirmed(gateway: StandInGateway) -> None:
    """Have polls answered until one has told the agent that everything stored so far is."""
    while not agent_confirmed(gateway):
        gateway.changed.clear()
        gateway.wake.set()
        await gateway.changed.wait()


def agent_confirmed(gateway: StandInGateway) -> bool:
    """Whether a poll has told the agent that everything stored so far is."""
    return gateway.confirmed_told >= max(one.rseq for one in gateway.reports.values())


@pytest.fixture
def small_disk(state: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts a small disk")
    place = state / "agent"
    place.mkdir(mode=0o711)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=711", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("this host lets nobody mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_full_disk_loses_nothing_and_takes_no_new_identity(
    agent: Agent, gateway: StandInGateway, small_disk: Path
) -> None:
    async with agent.running() as process:
        await enrolled(gateway)
        identity = (small_disk / "net" / "identity.json").read_bytes()
        async with asyncio.timeout(20):
            await confirmed(gateway)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)
        scans = [agent.command(params={"subsystem": "all"}) for _ in range(8)]
        handles = [gateway.send(gateway.fleet.sign(scan)) for scan in scans]
        polls = len(gateway.calls)
        await gateway.until(lambda: len(gateway.calls) >= polls + 2)  # it goes on asking
        unacknowledged = [handle for handle in handles if handle not in gateway.acked]
        assert unacknowledged  # what is not on the disk is not acknowledged
        assert process.returncode is None
        ballast.unlink()
        for scan in scans:
            report = await gateway.until(partial(gateway.done, scan.cmd), 60)
            assert report.result is Outcome.SUCCEEDED
        assert (small_disk / "net" / "identity.json").read_bytes() == identity
        assert gateway.calls.count("POST /enroll") == 1
    gateway.check_chain()
