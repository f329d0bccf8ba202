"""The one data directory: what is where in it, and who may read it.

The directory itself can be entered by others, because PostgreSQL runs as another account below it when started
by root, and so does the agent's network process; keys, secrets, logs and data are for their owners alone.
Directories above it are never touched.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from redflag.keys.durable_file import make_directory
from redflag.up.errors import DataDirError

SYSTEM_DATA_DIR = Path("/var/lib/redflag")
MOUNT_POINT_ENTRIES = frozenset({"lost+found"})  # what an empty file system holds


def default_data_dir() -> Path:
    """Return where data goes when nobody says: the system's place for root, the user's for everybody else."""
    if os.geteuid() == 0:
        return SYSTEM_DATA_DIR
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "redflag"


def pointer_file() -> Path:
    """Return the file in the user's configuration that names the data directory used last."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "redflag" / "current"


@dataclass(frozen=True)
class DataDir:
    """The places in a data directory."""

    root: Path

    @classmethod
    def prepare(cls, root: Path) -> "DataDir":
        """Make what is missing.

        Raises:
            DataDirError: it cannot be made or is not ours.
        """
        data = cls(root.absolute())
        try:
            existed = data.root.exists()
            if existed:
                data.refuse_foreign()
            make_directory(data.root, mode=0o711)
            if existed and data.root.stat().st_uid != os.geteuid():
                raise DataDirError(data.root, "it belongs to somebody else")
            if os.geteuid() == 0:
                data.root.chmod(data.root.stat().st_mode | 0o011)
            for directory in (data.keys, data.secrets, data.logs, data.nats):
                make_directory(directory, mode=0o700)
            # Started by root, the agent's network process gives up root's rights and must reach its own part.
            make_directory(data.agent, mode=0o711)
        except OSError as error:
            raise DataDirError(data.root, error.strerror or str(error)) from error
        return data

    def refuse_foreign(self) -> None:
        """Leave a directory alone that holds other things than RedFlag's: a wrong `--data` must not fill it.

        Raises:
            DataDirError: it is no directory, or holds something and none of it shows that `up` made it.
        """
        if not self.root.is_dir():
            raise DataDirError(self.root, "it is not a directory")
        if self.lock_file.exists():
            return
        # A first start may have been cut off before it took the lock: its own directories are no strangers.
        own = {path.name for path in (self.keys, self.secrets, self.logs, self.nats, self.agent)}
        if {entry.name for entry in self.root.iterdir()} - own - MOUNT_POINT_ENTRIES:
            raise DataDirError(
                self.root, "it holds other files; name an empty directory, or one of RedFlag's"
            )

    @property
    def lock_file(self) -> Path:
        """Held by the running `redflag up`; its text is the process id."""
        return self.root / "up.lock"

    @property
    def state_file(self) -> Path:
        """Ports and the processes started."""
        return self.root / "up.json"

    @property
    def cli_file(self) -> Path:
        """What the operator's command line needs to reach this installation."""
        return self.root / "cli.json"

    @property
    def serving_file(self) -> Path:
        """Addresses and certificate of the last start that was told of them."""
        return self.root / "serving.json"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own directory."""
        return self.root / "postgres"

    @property
    def programs(self) -> Path:
        """Copies of programs that another account must reach."""
        return self.root / "programs"

    @property
    def nats(self) -> Path:
        """The broker's configuration, ports file and store; all of it may be lost."""
        return self.root / "nats"

    @property
    def keys(self) -> Path:
        """Signing keys and the first manifest."""
        return self.root / "keys"

    @property
    def secrets(self) -> Path:
        """Passwords, broker seeds, the gateways' shared key, the admin's API key."""
        return self.root / "secrets"

    @property
    def admin_key(self) -> Path:
        """The admin's API key."""
        return self.secrets / "admin.key"

    @property
    def logs(self) -> Path:
        """One log for each program."""
        return self.root / "logs"

    @property
    def agent(self) -> Path:
        """The state of this host's agent."""
        return self.root / "agent"
