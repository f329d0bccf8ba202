"""What one start leaves for the next: the ports chosen, and which processes were started.

The file is replaced whole on every change. A file that cannot be read is treated as not there: ports are chosen
anew and processes are then found by their mark in the environment only.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from redflag.embedded.processes import ProcessIdentity
from redflag.keys.durable_file import write_durable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's name for this boot; start times mean nothing beyond it."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class ChildRecord(BaseModel):
    """A process that was started; see `redflag.embedded.processes`."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    started: int  # clock ticks since boot
    command_line: list[str]

    def identity(self) -> ProcessIdentity:
        """Return the identity the process had."""
        return ProcessIdentity(self.pid, self.started)


class UpState(BaseModel):
    """The content of up.json."""

    model_config = ConfigDict(extra="ignore")

    ports: dict[str, int] = Field(default_factory=dict)
    boot_id: str = ""
    children: dict[str, ChildRecord] = Field(default_factory=dict)
    local_token_id: str | None = None  # the enrolment token made for this host's agent


class StateFile:
    """Keeps `UpState` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state = UpState()

    def load(self) -> UpState:
        """Read the last run's state, or start with an empty one."""
        try:
            self.state = UpState.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            self.state = UpState()
        return self.state

    def save(self) -> None:
        """Write the state.

        Raises:
            OSError: it cannot be written.
        """
        write_durable(self._path, self.state.model_dump_json(indent=2).encode() + b"\n")

    def started(self, name: str, pid: int) -> None:
        """Note a process that was just started."""
        identity = ProcessIdentity.of(pid)
        if identity is None:
            return  # it is gone already; whoever waits for it will say so
        self.state.boot_id = boot_id()
        self.state.children[name] = ChildRecord(
            pid=pid, started=identity.started, command_line=list(identity.command_line())
        )
        self.save()

    def ended(self, name: str) -> None:
        """Note that a process is gone."""
        if self.state.children.pop(name, None) is not None:
            self.save()
