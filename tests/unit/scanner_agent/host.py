"""A whole helper in one process, over a real journal file, with the fake manager: killed and started again at will."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from redflag_scanner_agent.actions import Actions
from redflag_scanner_agent.executor import Executor
from redflag_scanner_agent.fast_mode import FastMode
from redflag_scanner_agent.figures import system
from redflag_scanner_agent.helper_service import HelperService
from redflag_scanner_agent.host_policy import load_policy
from redflag_scanner_agent.inventory_memory import InventoryMemory
from redflag_scanner_agent.ipc import Channel, Message, join_blobs
from redflag_scanner_agent.journal import Journal
from redflag_scanner_agent.journal_file import JournalFile
from redflag_scanner_agent.looks import Looks
from redflag_scanner_agent.reboots import Reboots
from redflag_scanner_agent.receipts import Receipts
from redflag_scanner_agent.restart import RestartRefusedError
from redflag_scanner_agent.spool import Spool
from redflag_scanner_agent.tombstones import Tombstones
from redflag_scanner_agent.trust import Trust
from redflag_wire.clock import ManualClock
from redflag_wire.command import Command
from redflag_wire.envelope import parse_envelope, verify_envelope
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import Report
from redflag_wire.report_bodies import Body, Facts, ManagerCapability, Storage, System, parse_body
from redflag_wire.report_body_codec import open_body
from tests.support.agent_fleet import Fleet, key
from tests.support.fake_manager import FakeManager

BOOT = "11111111-1111-1111-1111-111111111111"


class SilentChannel(Channel):
    """Goes nowhere; the tests call the service's requests themselves."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, header: dict[str, Any], blob: bytes = b"") -> None:
        self.sent.append({**header, "blob": blob})


class FakeFigures:
    """Figures that cost nothing."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    async def system(self) -> System:
        return system.collect(self.clock.now(), system.Asked(virtualization="none"), Path("/nowhere"))

    async def storage(self) -> Storage:
        return Storage(collected_at=self.clock.now(), volumes=[], disks=[])

    def facts(self, capabilities: list[ManagerCapability]) -> Facts:
        return Facts(
            hostname="fake",
            os_id="debian",
            os_name="Debian",
            os_version="12",
            arch="x86_64",
            kernel="6.1",
            agent_version="0.1.0",
            boot_id=BOOT,
            capabilities=capabilities,
        )


class FakeRestart:
    """Counts restarts; each gives the host another boot id, which a process started afterwards sees."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.restarts = 0
        self.notices: list[str] = []
        self.refuse: RestartRefusedError | None = None
        self.does_nothing = False
        self.ordered, self.told = asyncio.Event(), asyncio.Event()

    async def notice(self, text: str) -> None:
        self.notices.append(text)
        self.told.set()

    async def restart(self) -> None:
        self.ordered.set()
        if self.refuse is not None:
            raise self.refuse
        if not self.does_nothing:
            self.restarts += 1
            self.host.boot = f"22222222-2222-2222-2222-{self.restarts:012d}"


class Host:
    """An enrolled host of a fleet.

    Attributes:
        clock: the host's own; its wall time may be anything.
        manager: the fake package manager, which outlives a restart as a host's packages do.
    """

    def __init__(self, directory: Path, fleet: Fleet, agent: UUID) -> None:
        self.directory = directory
        self.fleet = fleet
        self.agent = agent
        self.agent_key, self.receipt_key = key(), key()
        self.clock = ManualClock(fleet.clock.now())
        self.manager = FakeManager(effects=directory / "effects.jsonl")
        self.more_managers: list[FakeManager] = []
        self.figures = FakeFigures(self.clock)
        self.restart = FakeRestart(self)
        self.can_change: str | None = None
        self.boot = BOOT
        self.policy = directory / "policy.toml"
        self.file: JournalFile | None = None
        self.start()
        self.trust.begin(fleet.rootfp, [fleet.manifest_envelope])
        enrolled = fleet.enrolled(
            "a" * 10, agent, self.agent_key.public.to_b64(), self.receipt_key.public.to_b64()
        )
        self.trust.enrol(enrolled, self.agent_key.public)
        self.beacon()

    def start(self) -> None:
        """Open the journal anew, as a new process does; nothing else is remembered."""
        self.close()
        self.file = JournalFile(self.directory / "host.db")
        self.journal = Journal(self.file)
        self.trust = Trust(self.file, self.clock, self.receipt_key.public)
        self.changed = asyncio.Event()
        self.spool = Spool(self.file, changed=self.changed.set)
        self.receipts = Receipts(
            self.spool, self.receipt_key, lambda: self.trust.identity, self.clock, self.boot
        )
        self.actions = Actions(
            {manager.name: manager for manager in (self.manager, *self.more_managers)},
            self.journal.plan,
            policy=lambda: load_policy(self.policy),
            figures=self.figures,
            needs_reboot=lambda: self.needs_reboot,
        )
        self.tombstones, self.fast_mode = Tombstones(self.file), FastMode(self.file)
        self.memory = InventoryMemory(self.file)
        self.reboots = Reboots(self.journal, self.restart, self.clock, self.boot)
        self.executor = Executor(
            journal=self.journal,
            spool=self.spool,
            receipts=self.receipts,
            actions=self.actions,
            now=self.trust.now,
            boot_id=self.boot,
            reboots=self.reboots,
            tombstones=self.tombstones,
            fast_mode=self.fast_mode,
            memory=self.memory,
            looks=Looks(self.file),
        )
        self.service = HelperService(
            channel=SilentChannel(),
            trust=self.trust,
            journal=self.journal,
            spool=self.spool,
            receipts=self.receipts,
            executor=self.executor,
            actions=self.actions,
            tombstones=self.tombstones,
            fast_mode=self.fast_mode,
            capabilities=[self.manager.capabilities()],
            receipt_key=self.receipt_key.public,
            policy_file=self.policy,
            can_change=self.can_change,
        )

    needs_reboot = False
    fast = False

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.fleet.clock.advance(seconds)

    def beacon(self) -> None:
        self.trust.observe(self.fleet.beacon())
        self.executor.time_known()

    def command(self, kind: str = "scan", **changes: Any) -> Command:
        return self.fleet.command(self.agent, self.agent_key.public.thumbprint, kind, **changes)

    async def ask(self, op: str, blob: bytes = b"", **fields: object) -> tuple[dict[str, Any], bytes]:
        """Make a request as the network process does, without the socket."""
        handler: Callable[[Message], Any] = self.service._ops[op]
        answer: tuple[dict[str, Any], bytes] = await handler(Message({"op": op, "id": 1, **fields}, blob))
        return answer

    async def give(self, command: Command) -> dict[str, Any]:
        answer, _ = await self.ask("command", self.fleet.sign(command))
        self.fast = answer.pop("fast")
        return answer

    async def work(self) -> None:
        """Run the executor until nothing waits any more; it can go on afterwards."""
        work = asyncio.create_task(self.executor.run())
        async with asyncio.timeout(10):
            while self.journal.unfinished() and not work.done():
                self.changed.clear()
                waiting = asyncio.create_task(self.changed.wait())
                await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        if work.done():
            work.result()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    def reports(self) -> list[Report]:
        """Every report in the spool, its signature checked."""
        framed, _ = self.spool.batch(0)
        found = []
        for envelope, _body in framed:
            keys = [self.agent_key.public, self.receipt_key.public]
            verified = verify_envelope(parse_envelope(envelope), PayloadType.REPORT, keys)
            found.append(Report.from_bytes(verified.payload))
        return found

    def bodies(self) -> list[Body | None]:
        framed, _ = self.spool.batch(0)
        return [
            None if report.body is None else parse_body(open_body(sealed, report.body))
            for report, (_envelope, sealed) in zip(self.reports(), framed, strict=True)
        ]

    def blobs(self, *blobs: bytes) -> bytes:
        return join_blobs(list(blobs))
