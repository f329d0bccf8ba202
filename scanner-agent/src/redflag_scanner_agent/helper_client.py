"""The network process's side of the connection to the helper.

Every request has a deadline. When the helper is gone every request fails at once and `gone` is set: the network
process then ends, and its supervisor starts both anew.
"""

import asyncio
from typing import Any

from redflag_ops.logging import get_logger
from redflag_scanner_agent.errors import HelperRefusedError, IpcError
from redflag_scanner_agent.ipc import Channel, Message, join_blobs
from redflag_wire import base64_strict
from redflag_wire.payload import WireModel
from redflag_wire.report import BodyRef, ReportKind
from redflag_wire.report_bodies import HostEvent, ManagerCapability

log = get_logger()

REQUEST_DEADLINE_S = 60.0
HELLO_DEADLINE_S = 7 * 3_600.0  # an older helper may still finish an installation
INVENTORY_DEADLINE_S = 3_600.0


class Hello(WireModel):
    """What the helper says of itself."""

    receipt_pub: str
    fleet: str | None
    manifest_version: int | None
    agent: str | None
    floor: int
    reserved: str | None
    facts_mark: str | None
    inventory_mark: str | None
    capabilities: list[ManagerCapability]
    fast: bool


class Waiting(WireModel):
    """A body of the helper that waits for the agent key.

    Attributes:
        id: names it in `commit`.
        kind: of the report.
        ref: names the body's bytes.
    """

    id: int
    kind: ReportKind
    ref: BodyRef


class HelperClient:
    """Requests to the helper.

    Args:
        channel: the connection.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._last = 0
        self.gone = asyncio.Event()
        self.spool_changed = asyncio.Event()
        self._fast = False

    @property
    def fast(self) -> bool:
        """Whether the server asked for fast mode, by the helper's newest answer."""
        return self._fast

    async def run(self) -> None:
        """Take answers and notices until the helper is gone."""
        try:
            while (message := await self._channel.receive()) is not None:
                if message.header.get("notice") == "spool":
                    self.spool_changed.set()
                    continue
                waiting = self._answers.pop(message.header.get("id", -1), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
        except IpcError as error:
            log.error("helper.not_understood", code=error.code, detail=error.detail)  # noqa: TRY400
        finally:
            self.gone.set()
            for waiting in self._answers.values():
                if not waiting.done():
                    waiting.set_exception(IpcError("helper_gone", "the helper has ended"))
            self._answers.clear()

    async def request(
        self, op: str, blob: bytes = b"", *, deadline_s: float = REQUEST_DEADLINE_S, **fields: object
    ) -> Message:
        """Ask the helper.

        Raises:
            HelperRefusedError: it refused; code and detail are its own.
            IpcError: it is gone or did not answer in time.
        """
        if self.gone.is_set():
            raise IpcError("helper_gone", "the helper has ended")
        self._last += 1
        number = self._last
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(deadline_s):
                await self._channel.send({"op": op, "id": number, **fields}, blob)
                message = await answer
        except TimeoutError:
            raise IpcError(
                "helper_silent", f"the helper did not answer '{op}' within {deadline_s:g} s"
            ) from None
        finally:
            self._answers.pop(number, None)
        error = message.header.get("error")
        if error is not None:
            raise HelperRefusedError(str(error["code"]), str(error["detail"]))
        return message

    async def hello(self, deadline_s: float = HELLO_DEADLINE_S) -> Hello:
        """Return what the helper says of itself, once it is ready."""
        message = await self.request("hello", deadline_s=deadline_s)
        found = {name: value for name, value in message.header.items() if name != "id"}
        hello = Hello.from_object(found)
        self._fast = hello.fast
        return hello

    async def first_manifest(self, rootfp: bytes, chain: list[bytes]) -> str:
        """Have the chain verified against a root fingerprint; return the fleet."""
        message = await self.request("first_manifest", join_blobs(chain), rootfp=base64_strict.encode(rootfp))
        return str(message.header["fleet"])

    async def manifest(self, chain: list[bytes]) -> int:
        """Hand over the manifests that follow the trusted one; return the version trusted now."""
        message = await self.request("manifest", join_blobs(chain))
        return int(message.header["version"])

    async def enrolled(self, envelope: bytes, agent_pub: str) -> None:
        """Have the server's identity verified and kept."""
        await self.request("enrolled", envelope, agent_pub=agent_pub)

    async def beacon(self, envelope: bytes) -> int | None:
        """Hand over a beacon; return the manifest version it names, None for an old one."""
        message = await self.request("beacon", envelope)
        version = message.header["manifest_version"]
        self._fast = message.header.get("fast") is True
        return None if version is None else int(version)

    async def command(self, envelope: bytes) -> dict[str, Any]:
        """Hand over a command; `ack` in the answer says whether its delivery may be acknowledged."""
        header = (await self.request("command", envelope)).header
        self._fast = header.get("fast") is True
        return header

    async def reserve(self, report: str) -> tuple[int, str | None]:
        """Reserve the next number for a report of the agent key; return it and `prev`."""
        header = (await self.request("reserve", report=report)).header
        return int(header["rseq"]), header["prev"]

    async def commit(
        self,
        envelope: bytes,
        body: bytes,
        *,
        mark: tuple[str, str] | None = None,
        pending: int | None = None,
    ) -> None:
        """Put a signed report into its reserved place."""
        blob = join_blobs([envelope, body])
        await self.request("commit", blob, mark=None if mark is None else list(mark), pending=pending)

    async def pending(self) -> tuple[Waiting, bytes] | None:
        """Return the oldest body of the helper that waits for a signature."""
        message = await self.request("pending")
        header = message.header
        if header["pending"] is None:
            return None
        ref = BodyRef.from_object(header["ref"])
        return Waiting(id=header["pending"], kind=ReportKind(header["kind"]), ref=ref), message.blob

    async def look(self, *, refresh: bool) -> int:
        """Have the helper make an inventory nobody commanded; return of how many package managers."""
        message = await self.request("inventory", refresh=refresh, deadline_s=INVENTORY_DEADLINE_S)
        return int(message.header["inventories"])

    async def event(self, event: HostEvent) -> None:
        """Have an event kept; the helper bounds how often one of a code is."""
        await self.request("event", event.to_bytes())

    async def reports(self, after: int) -> tuple[int, bytes]:
        """Return the next batch of signed reports: the last one's number and the framed bytes, empty for none."""
        message = await self.request("reports", after=after)
        return int(message.header["last"]), message.blob

    async def confirmed(self, rseq: int) -> None:
        """Say up to which number the server has everything."""
        await self.request("confirmed", rseq=rseq)
