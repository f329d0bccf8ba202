import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from redflag_wire.command import Command
from redflag_wire.report import CommandState, Outcome, ReportKind
from redflag_wire.report_bodies import Facts, Inventory, PlanResult
from tests.support.agent_fleet import Fleet
from tests.support.directories import open_directory
from tests.support.stand_in_gateway import StandInGateway

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "tests" / "support" / "agent_with_fake_manager.py"
PACKAGES = {"manager": "fake", "packages": [{"name": "hello", "arch": "all", "version": "1.1"}]}


@dataclass
class Agent:
    """The real programs over a state directory of their own."""

    state: Path
    gateway: StandInGateway
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "REDFLAG_AGENT_SERVER": self.gateway.url,
            "REDFLAG_AGENT_STATE_DIR": str(self.state / "agent"),
            "REDFLAG_AGENT_TOKEN_FILE": str(self.state / "token"),
            "REDFLAG_AGENT_POLICY_FILE": str(self.state / "policy.toml"),
            # A private root lets the helper install without being root; the fake manager does not look at it.
            "REDFLAG_AGENT_APT_CONFIG": str(self.state / "apt.conf"),
            "REDFLAG_AGENT_FAST": "1",
            **self.environment,
        }

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start(*arguments)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                await process.communicate()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            "agent",
            *(arguments or ("run",)),
            env=self.env,
            cwd="/",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def finish(self, *arguments: str) -> tuple[int, str, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    def effects(self) -> list[dict[str, str]]:
        log = self.state / "agent" / "helper" / "effects.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def command(self, kind: str = "scan", **changes: Any) -> Command:
        assert self.gateway.agent_key is not None
        return self.gateway.fleet.command(
            self.gateway.agent, self.gateway.agent_key.thumbprint, kind, **changes
        )


@pytest.fixture
def state() -> Iterator[Path]:
    with open_directory("agent") as directory:
        yield directory


@pytest.fixture
async def gateway() -> AsyncIterator[StandInGateway]:
    fleet = Fleet(datetime.now(UTC))
    gateway = StandInGateway(fleet)
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture
def agent(state: Path, gateway: StandInGateway) -> Agent:
    (state / "token").write_text(gateway.token.to_text() + "\n")
    return Agent(state, gateway)


async def enrolled(gateway: StandInGateway) -> None:
    await gateway.until(lambda: any(one.kind is ReportKind.INVENTORY for one in gateway.reports.values()))


async def test_new_host_joins_and_shows_its_facts_and_updates(agent: Agent, gateway: StandInGateway) -> None:
    async with agent.running():
        await enrolled(gateway)
        await gateway.until(lambda: gateway.gen == 1)
        bodies = list(gateway.bodies.values())
        facts = next(one for one in bodies if isinstance(one, Facts))
        assert facts.machine_id == gateway.machine_id
        assert [one.manager for one in facts.capabilities] == ["fake"]
        inventory = next(one for one in bodies if isinstance(one, Inventory))
        assert {update.name for update in inventory.updates} == {"hello", "world"}
    gateway.check_chain()


async def test_network_process_has_no_rights_and_helper_keeps_its_own(
    agent: Agent, gateway: StandInGateway
) -> None:
    if os.geteuid() != 0:
        pytest.skip("privileges are dropped by root only")
    async with agent.running() as process:
        await enrolled(gateway)
        status = Path(f"/proc/{process.pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert set(uids).isdisjoint({"0"})
        capabilities = next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1]
        assert int(capabilities, 16) == 0
    helper_dir, net_dir = agent.state / "agent" / "helper", agent.state / "agent" / "net"
    assert helper_dir.stat().st_uid == 0
    assert helper_dir.stat().st_mode & 0o777 == 0o700
    assert (helper_dir / "receipt.key").stat().st_mode & 0o777 == 0o600
    assert net_dir.stat().st_uid != 0
    assert (net_dir / "agent.key").stat().st_mode & 0o777 == 0o600


async def plan_of(agent: Agent, gateway: StandInGateway) -> str:
    command = agent.command("dry_run_update", params=PACKAGES)
    gateway.send(gateway.fleet.sign(command))
    report = await gateway.until(lambda: gateway.done(command.cmd))
    assert report.result is Outcome.SUCCEEDED
    body = gateway.bodies[report.report]
    assert isinstance(body, PlanResult)
    assert body.plan.digest == report.plan_digest
    return str(report.plan_digest)


async def test_whole_way_of_an_update(agent: Agent, gateway: StandInGateway) -> None:
    async with agent.running():
        await enrolled(gateway)
        scan = agent.command()
        handle = gateway.send(gateway.fleet.sign(scan))
        await gateway.until(lambda: gateway.done(scan.cmd))
        assert handle in gateway.acked
        assert [one.state for one in gateway.of(scan.cmd)] == list(CommandState)
        digest = await plan_of(agent, gateway)
        install = agent.command("install_updates", params={**PACKAGES, "plan_digest": digest})
        data = gateway.fleet.sign(install)
        gateway.send(data)
        report = await gateway.until(lambda: gateway.done(install.cmd))
        assert report.result is Outcome.SUCCEEDED
        assert report.started is not None
        assert report.finished is not None
        again = gateway.send(data)
        await gateway.until(lambda: again in gateway.acked)
        assert agent.effects() == [{"package": "hello", "version": "1.1"}]
    gateway.check_chain()


async def test_killed_in_the_middle_of_an_installation_is_probed_not_repeated(
    agent: Agent, gateway: StandInGateway
) -> None:
    async with agent.running():
        await enrolled(gateway)
        digest = await plan_of(agent, gateway)
    (agent.state / "agent" / "helper" / "crash-once").touch()
    process = await agent.start()
    install = agent.command("install_updates", params={**PACKAGES, "plan_digest": digest})
    data = gateway.fleet.sign(install)
    gateway.send(data)
    async with asyncio.timeout(20):
        _out, err = await process.communicate()
    assert process.returncode == 1, err
    assert b"helper_gone" in err
    async with agent.running():
        report = await gateway.until(lambda: gateway.done(install.cmd))
        assert (report.result, report.code) == (Outcome.SUCCEEDED, "probed")
        assert agent.effects() == [{"package": "hello", "version": "1.1"}]
    gateway.check_chain()


@pytest.mark.parametrize(
    "name",
    [
        "journal.before_received",
        "journal.within_received",
        "journal.after_received",
        "journal.before_started",
        "journal.within_started",
        "journal.after_started",
        "executor.before_act",
        "executor.after_act",
        "journal.before_done",
        "journal.within_done",
        "journal.after_done",
    ],
)
async def test_kill_at_each_step_has_one_effect_and_one_end(
    agent: Agent, gateway: StandInGateway, name: str
) -> None:
    async with agent.running():
        await enrolled(gateway)
        digest = await plan_of(agent, gateway)
    install = agent.command("install_updates", params={**PACKAGES, "plan_digest": digest})
    gateway.send(gateway.fleet.sign(install))
    agent.environment["REDFLAG_FAILPOINT"] = f"{name}:kill"
    code, _, err = await agent.finish("run")
    assert code == 1, err
    del agent.environment["REDFLAG_FAILPOINT"]
    async with agent.running():
        report = await gateway.until(lambda: gateway.done(install.cmd))
        began = name not in {"journal.after_started", "executor.before_act"}
        # Begun and not acted: the probe finds nothing done and it is never begun again.
        assert report.result is (Outcome.SUCCEEDED if began else Outcome.FAILED)
        await gateway.until(lambda: not gateway.queue)
        assert len(agent.effects()) == (1 if began else 0)
    gateway.check_chain()


@pytest.mark.parametrize("name", ["spool.after_reserve", "spool.before_commit"])
async def test_kill_between_reservation_and_bytes_leaves_no_gap(
    agent: Agent, gateway: StandInGateway, name: str
) -> None:
    agent.environment["REDFLAG_FAILPOINT"] = f"{name}:kill"
    code, _, _ = await agent.finish("run")
    assert code == 1
    del agent.environment["REDFLAG_FAILPOINT"]
    async with agent.running():
        await enrolled(gateway)
    gateway.check_chain()
    assert any(report.code == "report_lost" for report in gateway.reports.values())


async def test_refused_token_is_one_line_and_exit_5(agent: Agent, gateway: StandInGateway) -> None:
    gateway.refuse_token = True
    code, out, err = await agent.finish("run")
    assert code == 5
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    said = "enrolment_refused; ask for a new one: redflag tokens create (enrolment_refused)"
    assert lines == [f"redflag-agent: the server refused this token: {said}"]


async def test_token_of_another_installation_is_refused(agent: Agent, gateway: StandInGateway) -> None:
    (agent.state / "token").write_text(Fleet(datetime.now(UTC)).token().to_text())
    code, _, err = await agent.finish("run")
    assert code == 5
    assert "manifest_fingerprint" in err
    assert "POST /enroll" not in gateway.calls  # nothing was shown to a server that is not the right one


async def test_enroll_command_then_status(agent: Agent, gateway: StandInGateway) -> None:
    token = str(agent.state / "token")
    code, out, err = await agent.finish("enroll", "--server", gateway.url, "--token-file", token)
    assert (code, out, err) == (0, f"enrolled as {gateway.agent}\n", "")
    assert gateway.gen == 1
    code, out, _ = await agent.finish("status", "--format", "json")
    assert code == 0
    assert json.loads(out)["agent"] == str(gateway.agent)
    code, _, err = await agent.finish("enroll", "--token-file", token)
    assert code == 5
    assert "enrolled already" in err


async def test_stale_nonce_and_ended_token_are_got_over(agent: Agent, gateway: StandInGateway) -> None:
    async with agent.running():
        await enrolled(gateway)
        gateway.nonce = "another-nonce"
        gateway.expire_token = True
        scan = agent.command()
        gateway.send(gateway.fleet.sign(scan))
        await gateway.until(lambda: gateway.done(scan.cmd))
        assert gateway.gen >= 2
    identity = json.loads((agent.state / "agent" / "net" / "identity.json").read_text())
    assert identity["access_token"] == gateway.access_token
    assert identity["confirmed"]["gen"] == gateway.gen


async def test_reports_the_server_could_not_take_come_again(agent: Agent, gateway: StandInGateway) -> None:
    gateway.drop_reports = 2
    async with agent.running():
        await enrolled(gateway)
    assert gateway.posts > 2
    gateway.check_chain()


async def test_refusals_are_reported_and_only_final_ones_acknowledged(
    agent: Agent, gateway: StandInGateway
) -> None:
    async with agent.running():
        await enrolled(gateway)
        reboot = agent.command("reboot")
        handle = gateway.send(gateway.fleet.sign(reboot))
        report = await gateway.until(lambda: gateway.done(reboot.cmd))
        assert (report.result, report.code) == (Outcome.REJECTED, "reboot_not_allowed")
        forged = gateway.send(gateway.fleet.sign(agent.command(), gateway.fleet.beacon_key))
        await gateway.until(lambda: forged in gateway.acked)
        assert handle in gateway.acked
        await gateway.until(
            lambda: any(getattr(body, "code", "") == "refused_signature" for body in gateway.bodies.values())
        )
    gateway.check_chain()


async def test_action_in_hand_is_finished_after_the_network_process_is_killed(
    agent: Agent, gateway: StandInGateway
) -> None:
    async with agent.running() as process:
        await enrolled(gateway)
        scan = agent.command()
        gateway.send(gateway.fleet.sign(scan))
        await gateway.until(lambda: gateway.of(scan.cmd))
        process.kill()
    async with agent.running():
        report = await gateway.until(lambda: gateway.done(scan.cmd))
        assert report.result is Outcome.SUCCEEDED
        with suppress(ProcessLookupError):
            assert process.returncode == -signal.SIGKILL
    gateway.check_chain()
