"""The privileged process: verifies, journals, acts, signs receipts. It opens Unix sockets only.

Started by the network process over an inherited socket: `python -m redflag_scanner_agent.helper --fd N`. When that
socket closes it finishes the action in hand, writes DONE and ends; a new helper waits for it at the journal's lock.
An audit hook refuses every socket but Unix ones in this process; the package managers it starts are other programs.
"""

import argparse
import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import configure, get_logger
from redflag_ops.settings import load_settings
from redflag_scanner_agent.actions import Actions
from redflag_scanner_agent.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, AgentError, JournalError
from redflag_scanner_agent.executor import Executor
from redflag_scanner_agent.facts import agent_version
from redflag_scanner_agent.fast_mode import FastMode
from redflag_scanner_agent.figures.host import HostFigures
from redflag_scanner_agent.helper_service import HelperService
from redflag_scanner_agent.host_clock import HostClock
from redflag_scanner_agent.host_events import tell_start
from redflag_scanner_agent.host_policy import load_policy
from redflag_scanner_agent.inventory_memory import InventoryMemory
from redflag_scanner_agent.ipc import HEADER_MAX_BYTES, Channel
from redflag_scanner_agent.journal import Journal
from redflag_scanner_agent.journal_file import JournalFile, wait_for_lock
from redflag_scanner_agent.looks import Looks
from redflag_scanner_agent.packages.base import PackageManager
from redflag_scanner_agent.packages.registry import available_managers
from redflag_scanner_agent.reboots import Reboots
from redflag_scanner_agent.receipts import Receipts, boot_id, load_receipt_key
from redflag_scanner_agent.restart import HostRestart, NoRestart, Restart
from redflag_scanner_agent.settings import LOG_LEVELS, AgentSettings
from redflag_scanner_agent.spool import Spool
from redflag_scanner_agent.tombstones import Tombstones
from redflag_scanner_agent.trust import Trust

JOURNAL = "journal.db"
LOCK = "journal.lock"

log = get_logger()

Managers = Callable[[AgentSettings, bool], Mapping[str, PackageManager]]
"""Gives the host's package managers; the second argument says whether installing is allowed at all."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a test replaces of the machine below the helper.

    Attributes:
        managers: its package managers.
        restart: what can restart it; None for the real one, or for none over a private root.
        boot_id: of this boot.
    """

    managers: Managers
    restart: Restart | None = None
    boot_id: Callable[[], str] = boot_id


def host_managers(settings: AgentSettings, can_install: bool) -> Mapping[str, PackageManager]:
    """Return the package managers of this host."""
    return available_managers(
        apt_config=settings.apt_config, work_dir=settings.helper_dir / "packages", can_install=can_install
    )


HOST = Machine(host_managers)
"""The real one."""


def why_scan_only(settings: AgentSettings) -> str | None:
    """Return why this helper may only look, None when it may change the host."""
    if os.geteuid() == 0 or settings.apt_config is not None:
        return None
    return "the helper does not run as root"


def only_unix_sockets() -> None:
    """Make every other kind of socket an error in this process, for good."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.__new__" and arguments[1] != socket.AF_UNIX:
            raise PermissionError("the helper opens Unix sockets only")

    sys.addaudithook(hook)


async def serve(settings: AgentSettings, peer: socket.socket, machine: Machine = HOST) -> None:
    """Serve the network process at the other end of `peer` until it is gone.

    Raises:
        AgentError: the journal or the receipt key cannot be used, or the peer sent what no honest one sends.
    """
    settings.helper_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = wait_for_lock(
        settings.helper_dir / LOCK,
        give_up=lambda: _closed(peer),
        waiting=lambda: log.warning("helper.waits_for_another"),
    )
    file = JournalFile(settings.helper_dir / JOURNAL)
    try:
        await _serve_with(settings, peer, file, machine)
    finally:
        file.close()
        os.close(lock)


def _restart_of(settings: AgentSettings, machine: Machine) -> Restart:
    if machine.restart is not None:
        return machine.restart
    return HostRestart() if settings.apt_config is None else NoRestart()


async def _serve_with(
    settings: AgentSettings, peer: socket.socket, file: JournalFile, machine: Machine
) -> None:
    clock, boot = HostClock(), machine.boot_id()
    key = load_receipt_key(settings.helper_dir)
    scan_only = why_scan_only(settings)
    hosts = machine.managers(settings, scan_only is None)
    journal, trust = Journal(file), Trust(file, clock, key.public)
    notices: list[Callable[[], None]] = []

    def tell() -> None:
        for notice in notices:
            notice()

    spool = Spool(file, changed=tell)
    receipts = Receipts(spool, key, lambda: trust.identity, clock, boot)
    actions = Actions(
        hosts,
        journal.plan,
        policy=lambda: load_policy(settings.policy_file),
        figures=HostFigures(clock),
    )
    tombstones, fast_mode = Tombstones(file), FastMode(file)
    executor = Executor(
        journal=journal,
        spool=spool,
        receipts=receipts,
        actions=actions,
        now=trust.now,
        boot_id=boot,
        reboots=Reboots(journal, _restart_of(settings, machine), clock, boot),
        tombstones=tombstones,
        fast_mode=fast_mode,
        memory=InventoryMemory(file),
        looks=Looks(file),
    )
    reader, writer = await asyncio.open_unix_connection(sock=peer, limit=HEADER_MAX_BYTES)
    channel = Channel(reader, writer)
    service = HelperService(
        channel=channel,
        trust=trust,
        journal=journal,
        spool=spool,
        receipts=receipts,
        executor=executor,
        actions=actions,
        tombstones=tombstones,
        fast_mode=fast_mode,
        capabilities=[manager.capabilities() for manager in hosts.values()],
        receipt_key=key.public,
        policy_file=settings.policy_file,
        can_change=scan_only,
    )
    notices.append(service.notify)
    if trust.identity is not None:
        _tell_start(file, receipts, clock, boot)
    log.info("helper.ready", managers=sorted(hosts), scan_only=scan_only, open=len(journal.unfinished()))
    work = asyncio.create_task(executor.run(), name="executor")
    talk = asyncio.create_task(service.run(), name="service")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, talk.cancel)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the network process's to answer
    try:
        await asyncio.wait({work, talk}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        notices.clear()
        executor.stop()
        talk.cancel()
        talk_ended, work_ended = await asyncio.gather(talk, work, return_exceptions=True)
        await channel.close()
    for ended in (work_ended, talk_ended):
        if isinstance(ended, Exception):
            raise ended
    log.info("helper.stopped")


def _tell_start(file: JournalFile, receipts: Receipts, clock: HostClock, boot: str) -> None:
    try:
        tell_start(file, receipts, now=clock.now(), boot_id=boot, version=agent_version())
    except JournalError as error:
        # A full disk must not keep the helper from saying so to the server.
        log.warning("helper.start_not_told", code=error.code, detail=error.detail)


def _closed(peer: socket.socket) -> bool:
    readable, _, _ = select.select([peer], [], [], 0)
    if not readable:
        return False
    return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""


def main(argv: list[str] | None = None, machine: Machine = HOST) -> int:
    """Run the helper; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="redflag-agent helper", description="The agent's privileged half.")
    parser.add_argument("--fd", type=int, required=True, help="inherited end of the socket pair")
    options = parser.parse_args(argv)
    try:
        settings = load_settings(AgentSettings)
    except ConfigurationError as error:
        sys.stderr.write(f"redflag-agent: helper: {error}\n")
        return EXIT_USAGE
    configure("agent-helper", settings.log_format, level=LOG_LEVELS[settings.log_level])
    only_unix_sockets()
    os.umask(0o077)
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=options.fd)
    if peer.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) != socket.AF_UNIX:
        sys.stderr.write("redflag-agent: helper: the inherited descriptor is not a Unix socket\n")
        return EXIT_USAGE
    peer.setblocking(False)
    try:
        asyncio.run(serve(settings, peer, machine))
    except JournalError as error:
        log.error("helper.journal", code=error.code, detail=error.detail)  # noqa: TRY400 - the text says it all
        return EXIT_FAILED
    except AgentError as error:
        log.error("helper.ended", code=error.code, detail=error.detail)  # noqa: TRY400
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
