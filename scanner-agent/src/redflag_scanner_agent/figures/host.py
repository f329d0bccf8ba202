"""The figures of this very host: files in a thread, programs with a time limit, nothing that raises.

systemd-detect-virt, needrestart and smartctl are asked where they are installed; without them the answer has less in
it. needrestart and smartctl need root's rights and are left out without them.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from redflag_ops.logging import get_logger
from redflag_scanner_agent import facts
from redflag_scanner_agent.figures import disks, needrestart, storage, system
from redflag_scanner_agent.figures.reading import clean, clean_name
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.process import run_parsed
from redflag_wire import limits
from redflag_wire.clock import Clock
from redflag_wire.report_bodies import Facts, ManagerCapability, Storage, System

DETECT_VIRT = ("/usr/bin/systemd-detect-virt", "/bin/systemd-detect-virt")
ASK_TIMEOUT_S = 10.0  # seconds for a program that only looks
NEEDRESTART_TIMEOUT_S = 60.0  # it reads the memory maps of every process
SMART_TIMEOUT_S = 15.0  # for each disk
SMART_TOTAL_S = 120.0
OUTPUT_MAX_BYTES = 1024 * 1024

log = get_logger()


class HostFigures:
    """Looks at this host.

    Args:
        clock: the host's wall time.
        root: the host's own root.
    """

    def __init__(self, clock: Clock, root: Path = system.HOST) -> None:
        self._clock = clock
        self._root = root

    async def system(self) -> System:
        """Return how the host is doing."""
        virtualization, restarts = await asyncio.gather(self._virtualization(), self._restarts())
        asked = system.Asked(
            virtualization=virtualization,
            services=None if restarts is None else restarts.services,
            kernel=None if restarts is None else restarts.kernel_expected,
        )
        return await asyncio.to_thread(system.collect, self._clock.now(), asked, self._root)

    async def storage(self) -> Storage:
        """Return the host's volumes and disks."""
        found, problems = await asyncio.to_thread(storage.volumes, self._root)
        said: dict[str, disks.Said] = {}
        names = await asyncio.to_thread(disks.names, self._root)
        try:
            async with asyncio.timeout(SMART_TOTAL_S):
                for name in names:
                    said[name] = await self._smart(name)
        except TimeoutError:
            problems.append(f"not every disk answered within {SMART_TOTAL_S:g} s")
        return Storage(
            collected_at=self._clock.now(),
            volumes=found,
            disks=[disks.disk(self._root, name, said.get(name, disks.Said())) for name in names],
            problems=[clean(one) for one in problems][: limits.PROBLEMS_MAX],
        )

    def facts(self, capabilities: list[ManagerCapability]) -> Facts:
        """Return what this host is."""
        return facts.collect(capabilities)

    async def _virtualization(self) -> str | None:
        # It prints `none` and ends with 1 on bare metal, so its exit code says nothing.
        said = await _said(DETECT_VIRT, (), ASK_TIMEOUT_S)
        return None if said is None else clean_name(said.split("\n", 1)[0])

    async def _restarts(self) -> needrestart.NeedRestart | None:
        if os.geteuid() != 0:
            return None
        said = await _said(needrestart.PROGRAM, needrestart.ARGUMENTS, NEEDRESTART_TIMEOUT_S)
        return None if said is None else needrestart.parse(said)

    async def _smart(self, name: str) -> disks.Said:
        if os.geteuid() != 0:
            return disks.Said()
        said = await _said(disks.PROGRAM, (*disks.ARGUMENTS, f"/dev/{name}"), SMART_TIMEOUT_S)
        return disks.Said() if said is None else disks.parse_smart(said)


async def _said(candidates: Sequence[str], arguments: Sequence[str], timeout_s: float) -> str | None:
    """Return what a program printed, None when it is not there or could not answer."""
    program = next((one for one in candidates if os.access(one, os.X_OK)), None)
    if program is None:
        return None
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NEEDRESTART_MODE": "l"}
    try:
        ended = await run_parsed(
            [program, *arguments], env=environment, timeout_s=timeout_s, limit=OUTPUT_MAX_BYTES
        )
    except PackageManagerError as error:
        log.warning("figures.program_failed", program=program, code=error.code, detail=error.detail)
        return None
    return ended.stdout
