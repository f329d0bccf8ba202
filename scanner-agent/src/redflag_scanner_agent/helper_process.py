"""Starting the helper: a child over an inherited socket, with an environment and a session of its own.

It outlives Ctrl-C and this process on purpose: it ends when the socket closes and its action in hand is done.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence

from redflag_scanner_agent.errors import IpcError
from redflag_scanner_agent.helper_client import HelperClient
from redflag_scanner_agent.ipc import HEADER_MAX_BYTES, Channel

HELPER = (sys.executable, "-I", "-m", "redflag_scanner_agent.helper")
"""Isolated: neither the current directory nor PYTHONPATH says what runs with privileges."""

END_GRACE_S = 1.0  # seconds this process waits for an idle helper to end
_PASSED = ("LANG", "TZ")
_PREFIXES = ("REDFLAG_AGENT_", "REDFLAG_FAILPOINT")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class HelperProcess:
    """A running helper and the client that speaks to it.

    Attributes:
        client: its requests need `client.run` running.
        pid: of the helper.
    """

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self.client = HelperClient(channel)
        self.pid = process.pid

    async def stop(self) -> None:
        """Close the socket and wait a moment; a helper at work finishes alone."""
        await self._channel.close()
        try:
            async with asyncio.timeout(END_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            return


async def start_helper(
    settings: dict[str, str], command: Sequence[str] = HELPER, *, extra_env: dict[str, str] | None = None
) -> HelperProcess:
    """Start the helper with this process's rights.

    Args:
        settings: environment settings to pass besides this process's own of the agent.
        command: the helper's argument vector, `--fd N` is added.
        extra_env: further variables, for tests.

    Raises:
        IpcError: it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    env = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PREFIXES)}
    env |= {"PATH": _PATH, "LC_ALL": "C.UTF-8", **settings, **(extra_env or {})}
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--fd",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                cwd="/",
                env=env,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise IpcError("helper_start", f"cannot start the helper: {error}") from None
    ours.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=HEADER_MAX_BYTES)
    return HelperProcess(process, Channel(reader, writer))
