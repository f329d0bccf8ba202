"""The network process: starts the helper, gives its rights up, joins if it must, then polls and reports.

When the helper ends, this process ends with an error and its supervisor starts both anew. Told to stop, it closes the
helper's socket and leaves it to finish what it has in hand.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger
from redflag_ops.settings import read_secret
from redflag_ops.tasks import run_loops
from redflag_scanner_agent import cadence, facts
from redflag_scanner_agent.connection import Connection, open_session
from redflag_scanner_agent.contact import Contact
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.enrol import enrol, parse_token
from redflag_scanner_agent.errors import (
    AgentError,
    HelperRefusedError,
    IpcError,
    NotEnrolledError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.helper_client import HelperClient
from redflag_scanner_agent.helper_process import HELPER, HelperProcess, start_helper
from redflag_scanner_agent.host_clock import HostClock
from redflag_scanner_agent.identity import IDENTITY_FILE, Identity, IdentityStore
from redflag_scanner_agent.poller import Poller, StoppedError, unless_stopped
from redflag_scanner_agent.privileges import account_for, drop_to, hand_over
from redflag_scanner_agent.renewal import Access
from redflag_scanner_agent.reporter import Reporter
from redflag_scanner_agent.server_trust import ServerTrust, trust_of
from redflag_scanner_agent.settings import AgentSettings
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.signing import SigningKey

FACTS_EVERY_S = 3_600.0  # seconds between two looks whether the facts have changed

log = get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What is there once the process has no more rights than it needs.

    Attributes:
        helper: the running helper.
        store: the identity's files.
        key: the agent key.
        token: to enrol with, None for none.
        trust: whose certificates count for the server.
        contact: keeps the last word with the server.
    """

    helper: HelperProcess
    store: IdentityStore
    key: SigningKey
    token: EnrolmentToken | None
    trust: ServerTrust
    contact: Contact

    @property
    def client(self) -> HelperClient:
        """Requests to the helper."""
        return self.helper.client


def make_directories(settings: AgentSettings) -> None:
    """Make the state directories; the helper's is its own, and the one above can be entered by the account.

    Raises:
        ConfigurationError: they cannot be made.
    """
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        for directory in (settings.net_dir, settings.helper_dir):
            directory.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"REDFLAG_AGENT_STATE_DIR: cannot make {error.filename or settings.state_dir}: {error.strerror}"
        ) from None


def read_token(path: Path | None, *, needed: bool) -> EnrolmentToken | None:
    """Return the token of a file.

    Args:
        path: the file, None for none.
        needed: whether there is no identity yet: without that need an unreadable or spent file does not matter.

    Raises:
        ConfigurationError: the file cannot be read.
        EnrolmentRefusedError: it holds no token.
    """
    if path is None or not needed:
        return None
    return parse_token(read_secret(path, "REDFLAG_AGENT_TOKEN_FILE"))


@asynccontextmanager
async def start(
    settings: AgentSettings,
    token: EnrolmentToken | None = None,
    helper_command: Sequence[str] = HELPER,
    ca_text: str | None = None,
) -> AsyncIterator[Parts]:
    """Start the helper, give the rights up, open the identity; stop the helper at the end.

    Raises:
        ConfigurationError: a directory, an account or a file is not as it must be.
        NotEnrolledError: there is no identity and no token.
        AgentError: the helper cannot be started or a key is damaged.
    """
    make_directories(settings)
    as_root = os.geteuid() == 0
    account = account_for(settings.account) if as_root else None
    if account is not None:
        hand_over(settings.net_dir, account)
    with DurableDirectory(settings.net_dir) as files:
        needed = files.read("identity.json") is None
        token = token or read_token(settings.token_file, needed=needed)
        if needed and token is None:
            raise NotEnrolledError(
                "not_enrolled",
                "this host is not enrolled; run: redflag-agent enroll --server URL --token-file FILE",
            )
        # Read while root: the file need not be open to the account.
        trust = trust_of(files, settings.ca, ca_text)
        if account is not None:
            hand_over(settings.net_dir, account)  # what was kept of it
        passed = {
            "REDFLAG_AGENT_STATE_DIR": str(settings.state_dir),
            "REDFLAG_AGENT_POLICY_FILE": str(settings.policy_file),
            "REDFLAG_AGENT_LOG_FORMAT": settings.log_format,
            "REDFLAG_AGENT_LOG_LEVEL": settings.log_level,
        }
        if settings.apt_config is not None:
            passed["REDFLAG_AGENT_APT_CONFIG"] = str(settings.apt_config)
        helper = await start_helper(passed, helper_command)
        reading = asyncio.create_task(helper.client.run(), name="helper")
        try:
            if account is not None:
                drop_to(account)
            store = IdentityStore(files)
            yield Parts(helper, store, store.agent_key(), token, trust, Contact(files, HostClock()))
        finally:
            await helper.stop()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def join(
    parts: Parts, connection: Connection, server: str, token: EnrolmentToken, stop: asyncio.Event
) -> Identity:
    """Enrol, with back-off while the server is away.

    Raises:
        EnrolmentRefusedError: the token is refused.
        StoppedError: told to stop first.
    """
    failures = 0
    while True:
        try:
            work = enrol(
                connection=connection,
                helper=parts.client,
                store=parts.store,
                key=parts.key,
                server=server,
                token=token,
            )
            return await unless_stopped(stop, work)
        except ServerUnreachableError as error:
            failures += 1
            delay = cadence.failure_delay(failures, error.retry_after_s, cadence.system_uniform)
            log.warning("enrol.server_away", code=error.code, detail=error.detail, delay_s=delay)
        await unless_stopped(stop, asyncio.sleep(delay))


async def run(settings: AgentSettings, stop: asyncio.Event, helper_command: Sequence[str] = HELPER) -> None:
    """Run the agent until `stop` is set.

    Raises:
        ConfigurationError: a setting is missing or wrong.
        NotEnrolledError: there is no identity and no token.
        EnrolmentRefusedError: the token is refused.
        AgentError: the helper has ended, or a file is damaged.
    """
    if not os.access(settings.net_dir / IDENTITY_FILE, os.F_OK):  # false as well where one may not look
        settings.need_server()  # said before anything is made
    async with start(settings, helper_command=helper_command) as parts, open_session() as session:
        identity = parts.store.load()
        server = identity.server if settings.server is None and identity else settings.need_server()
        connection = Connection(
            session, server, parts.key, HostClock(), trust=parts.trust, contact=parts.contact
        )
        try:
            if identity is None and parts.token is not None:
                identity = await join(parts, connection, server, parts.token, stop)
            if identity is not None:
                await _work(settings, parts, connection, identity, stop)
        except StoppedError:
            log.info("agent.stopped_early")
    log.info("agent.stopped")


async def _work(
    settings: AgentSettings,
    parts: Parts,
    connection: Connection,
    identity: Identity,
    stop: asyncio.Event,
) -> None:
    client, clock = parts.client, HostClock()
    hello = await unless_stopped(stop, client.hello())
    if hello.agent != str(identity.agent) or hello.manifest_version is None:
        raise AgentError(
            "identity_split",
            "the helper's identity is another one than the network process's; "
            f"put {settings.state_dir} back as it was, or empty it and enrol again",
        )
    access = Access(connection, parts.store, identity, facts.machine_id(), clock)
    reporter = Reporter(
        helper=client,
        access=access,
        key=parts.key,
        fleet=identity.fleet,
        agent=str(identity.agent),
        clock=clock,
        boot_id=facts.boot_id(),
    )
    poller = Poller(
        connection=connection,
        access=access,
        helper=client,
        reporter=reporter,
        clock=clock,
        fast=settings.fast,
        manifest_version=hello.manifest_version,
    )
    await reporter.begin(hello)
    log.info("agent.ready", agent=str(identity.agent), server=identity.server, fast=settings.fast)
    loops = {
        "poll": poller.run(stop),
        "reports": _send_reports(client, reporter, stop),
        "facts": _watch_facts(client, reporter, stop),
        "helper": _watch_helper(client, stop),
    }
    if hello.inventory_mark is None:
        loops["inventory"] = _first_inventory(reporter, stop)
    await run_loops(stop, loops)


async def _send_reports(client: HelperClient, reporter: Reporter, stop: asyncio.Event) -> None:
    failures = 0
    client.spool_changed.set()  # what an earlier process left is sent first
    try:
        while not stop.is_set():
            await unless_stopped(stop, client.spool_changed.wait())
            client.spool_changed.clear()
            try:
                await unless_stopped(stop, reporter.send())  # receipts do not wait for what cannot be signed
                await unless_stopped(stop, reporter.sign_pending())
                await unless_stopped(stop, reporter.send())
                failures = 0
            except (ServerUnreachableError, RequestRefusedByServerError, HelperRefusedError) as error:
                failures += 1
                asked = (
                    error.retry_after_s if isinstance(error, ServerUnreachableError) else cadence.SHORTEST_S
                )
                delay = cadence.failure_delay(failures, asked, cadence.system_uniform)
                log.warning("reports.not_sent", code=error.code, detail=error.detail, delay_s=delay)
                client.spool_changed.set()
                await unless_stopped(stop, asyncio.sleep(delay))
    except StoppedError:
        return


async def _watch_facts(client: HelperClient, reporter: Reporter, stop: asyncio.Event) -> None:
    try:
        while True:
            await unless_stopped(stop, asyncio.sleep(FACTS_EVERY_S))
            hello = await unless_stopped(stop, client.hello())
            try:
                await unless_stopped(stop, reporter.facts(hello.capabilities, hello.facts_mark))
            except HelperRefusedError as error:
                log.warning("facts.not_kept", code=error.code, detail=error.detail)
    except StoppedError:
        return


async def _first_inventory(reporter: Reporter, stop: asyncio.Event) -> None:
    try:
        await unless_stopped(stop, reporter.first_inventory())
        await unless_stopped(stop, asyncio.Event().wait())
    except StoppedError:
        return


async def _watch_helper(client: HelperClient, stop: asyncio.Event) -> None:
    try:
        await unless_stopped(stop, client.gone.wait())
    except StoppedError:
        return
    raise IpcError("helper_gone", "the helper has ended; its own log says why")
