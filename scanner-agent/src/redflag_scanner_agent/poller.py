"""The poll loop: asks for commands, hands them to the helper, acknowledges what it journaled.

What arrives is handed on in the order beacon, manifest, commands: the helper needs the time to judge a command's keys.
Nothing that arrives is believed here.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from redflag_ops.logging import get_logger
from redflag_scanner_agent import cadence
from redflag_scanner_agent.connection import REQUEST_DEADLINE_S, Call, Connection
from redflag_scanner_agent.enrol import fetch_chain
from redflag_scanner_agent.errors import (
    HelperRefusedError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.helper_client import HelperClient
from redflag_scanner_agent.receipts import line
from redflag_scanner_agent.renewal import Access
from redflag_scanner_agent.reporter import Reporter
from redflag_wire import limits, strict_json
from redflag_wire.clock import Clock
from redflag_wire.errors import WireError
from redflag_wire.http_signature import Tag
from redflag_wire.report_bodies import HostEvent

COMMANDS_MAX = 256  # of one answer
HANDLE_MAX_CHARS = 1_024

log = get_logger()
Result = TypeVar("Result")


class StoppedError(Exception):
    """The program was told to stop while it waited."""


async def unless_stopped(stop: asyncio.Event, work: Awaitable[Result]) -> Result:
    """Return the result of the work, or cancel it when `stop` is set first.

    Raises:
        StoppedError: `stop` came first.
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise StoppedError
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.gather(stopped, task, return_exceptions=True)


class Poller:
    """Polls one gateway.

    Args:
        connection: for what is not signed.
        access: for what is.
        helper: judges and acts.
        reporter: told what is confirmed.
        clock: measures how long a poll was held.
        fast: long polls back to back, whatever the server asks for.
        uniform: the source of jitter.
        manifest_version: the newest the helper trusts.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        access: Access,
        helper: HelperClient,
        reporter: Reporter,
        clock: Clock,
        fast: bool,
        manifest_version: int,
        uniform: cadence.Uniform = cadence.system_uniform,
    ) -> None:
        self._connection = connection
        self._access = access
        self._helper = helper
        self._reporter = reporter
        self._clock = clock
        self._always_fast = fast
        self._uniform = uniform
        self._manifest_version = manifest_version
        self._time_given = False

    @property
    def fast(self) -> bool:
        """Whether polls follow each other now; the helper's word changes with beacons and commands."""
        return self._always_fast or self._helper.fast

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set.

        Raises:
            AgentError: the helper is gone.
        """
        failures = 0
        try:
            while not stop.is_set():
                try:
                    await unless_stopped(stop, self._access.confirm())
                    delay = await unless_stopped(stop, self.poll_once())
                    failures = 0
                except ServerUnreachableError as error:
                    failures += 1
                    delay = cadence.failure_delay(failures, error.retry_after_s, self._uniform)
                    log.warning(
                        "server.away", code=error.code, detail=error.detail, failures=failures, delay_s=delay
                    )
                except RequestRefusedByServerError as error:
                    failures += 1
                    delay = max(
                        cadence.SHORTEST_S,
                        cadence.failure_delay(failures, cadence.SHORTEST_S, self._uniform),
                    )
                    log.error(  # noqa: TRY400 - the text says it all
                        "server.refused",
                        status=error.status,
                        code=error.code,
                        detail=error.detail,
                        delay_s=delay,
                    )
                    await self._tell(error)
                except HelperRefusedError as error:
                    # A full disk, mostly: the helper keeps what it has, and the server keeps what it was not told.
                    failures += 1
                    delay = cadence.failure_delay(failures, cadence.SHORTEST_S, self._uniform)
                    log.error("helper.refused", code=error.code, detail=error.detail, delay_s=delay)  # noqa: TRY400
                await unless_stopped(stop, asyncio.sleep(delay))
        except StoppedError:
            return

    async def poll_once(self) -> float:
        """Ask once and deal with the answer; return the seconds until the next time.

        Raises:
            ServerUnreachableError: no answer, or one that says to try later.
            RequestRefusedByServerError: a final refusal.
            AgentError: the helper is gone.
        """
        # The first poll is not held: until its beacon comes the helper has no time to judge anything by.
        wait = limits.LONG_POLL_MAX_S if self.fast and self._time_given else 0
        began = self._clock.monotonic()
        answer = await self._access.call(
            Call(
                method="GET",
                path=f"/commands?wait={wait}",
                tag=Tag.AGENT,
                deadline_s=wait + REQUEST_DEADLINE_S,
            )
        )
        took = self._clock.monotonic() - began
        commands = _commands(answer)
        await self._take_beacon(answer.get("beacon"))
        handles = [handle for envelope, handle in commands if await self._hand_over(envelope)]
        if handles:
            body = strict_json.dumps({"handles": handles})
            await self._access.call(Call(method="POST", path="/commands/ack", body=body, tag=Tag.AGENT))
        confirmed = answer.get("confirmed_rseq")
        await self._reporter.confirmed(confirmed if isinstance(confirmed, int) else None)
        if self.fast and wait == 0 and self._time_given:
            return 0.0
        if self.fast:
            return cadence.fast_delay(took, bool(commands))
        asked = answer.get("next_poll_s")
        return cadence.normal_delay(asked if isinstance(asked, int) else None, self._uniform)

    async def _tell(self, refused: RequestRefusedByServerError) -> None:
        """Keep an event of a refusal for the time the server takes reports again; one a minute at most is kept."""
        event = HostEvent(
            code="server_refused",
            severity="error",
            component="agent",
            message=line(f"the server refused a request: {refused.detail}"),
            data={"status": refused.status, "reason": line(refused.code)},
        )
        try:
            await self._helper.event(event)
        except HelperRefusedError as error:
            log.warning("event.not_kept", code=error.code, detail=error.detail)

    async def refresh_manifest(self) -> None:
        """Fetch the chain and have the helper take what follows the manifest it trusts.

        Raises:
            ServerUnreachableError: no usable answer.
        """
        chain = await fetch_chain(self._connection)
        while len(chain) > self._manifest_version:
            first = self._manifest_version
            try:
                self._manifest_version = await self._helper.manifest(
                    chain[first : first + limits.MANIFEST_MAX_STEPS]
                )
            except HelperRefusedError as error:
                log.error("manifest.refused", code=error.code, detail=error.detail)  # noqa: TRY400
                return

    async def _take_beacon(self, beacon: object) -> None:
        if not isinstance(beacon, dict):
            return
        try:
            named = await self._helper.beacon(strict_json.dumps(beacon))
            self._time_given = True
            if named is not None and named > self._manifest_version:
                await self.refresh_manifest()
        except (HelperRefusedError, WireError) as error:
            log.error("beacon.refused", code=error.code, detail=error.detail)  # noqa: TRY400

    async def _hand_over(self, envelope: bytes) -> bool:
        """Give a command to the helper; whether its delivery may be acknowledged."""
        try:
            verdict = await self._helper.command(envelope)
        except HelperRefusedError as error:
            # The helper could not journal it: the server keeps it and brings it again.
            log.error("command.not_journaled", code=error.code, detail=error.detail)  # noqa: TRY400
            return False
        log.info("command.handed_over", verdict=verdict.get("verdict"), code=verdict.get("code"))
        return verdict.get("ack") is True


def _commands(answer: dict[str, Any]) -> list[tuple[bytes, str]]:
    found = answer.get("commands")
    if not isinstance(found, list):
        raise ServerUnreachableError("answer", "the server's answer names no commands")
    commands: list[tuple[bytes, str]] = []
    for one in found[:COMMANDS_MAX]:
        handle = one.get("handle") if isinstance(one, dict) else None
        if not isinstance(handle, str) or len(handle) > HANDLE_MAX_CHARS:
            raise ServerUnreachableError("answer", "a command came without a handle")
        try:
            commands.append((strict_json.dumps(one.get("envelope")), handle))
        except WireError as error:
            raise ServerUnreachableError("answer", str(error)) from None
    return commands
