"""The command line as its user has it: a process of its own, with a data directory as `redflag up` leaves it."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.warm_command import argv

REDFLAG = str(Path(sys.executable).with_name("redflag"))
DEADLINE_S = 60


@dataclass
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """Runs `redflag` against one data directory: the installed one, or the warm one at `warm`."""

    data: Path
    warm: Path | None = None

    def point_to(self, url: str, key: str) -> None:
        """Write what `redflag up` writes for the command line."""
        self.data.mkdir(exist_ok=True)
        key_file = self.data / "admin.key"
        key_file.write_text(key)
        key_file.chmod(0o600)
        (self.data / "cli.json").write_text(json.dumps({"api_url": url, "admin_key_file": str(key_file)}))

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *([REDFLAG] if self.warm is None else argv(self.warm)),
            *arguments,
            "--data",
            str(self.data),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
            preexec_fn=_hear_control_c,
        )

    async def end(self, process: asyncio.subprocess.Process) -> Ended:
        try:
            async with asyncio.timeout(DEADLINE_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            raise
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def run(self, *arguments: str, expect: int = 0, **environment: str) -> Ended:
        ended = await self.end(await self.start(*arguments, **environment))
        assert "Traceback" not in ended.err
        assert ended.code == expect, ended
        return ended

    async def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads((await self.run(*arguments, "--format", "json", expect=expect)).out)


def _hear_control_c() -> None:
    """A run in the background ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
