"""The file that says RedFlag is ready, for scripts that wait for it: there exactly while all parts are healthy."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from redflag.keys.durable_file import PUBLIC, write_durable
from redflag.up.errors import SettingError


@dataclass(frozen=True)
class Summary:
    """What the file says; it holds no secret."""

    gateway_url: str
    api_url: str
    ops_urls: Mapping[str, str]  # program -> address with /livez, /readyz, /metrics
    data_dir: str
    pids: Mapping[str, int]
    admin_secret_file: str
    nats_monitor_url: str | None  # of the embedded broker; None for one that runs elsewhere


class ReadyFile:
    """Written when ready, removed at start and stop. Without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = None if path is None else path.absolute()

    def remove(self) -> None:
        """Remove the file of an earlier run.

        Raises:
            SettingError: its directory is not there, or closed to us.
        """
        if self._path is None:
            return
        if not self._path.parent.is_dir():
            raise SettingError(f"--ready-file {self._path}: there is no directory {self._path.parent}")
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise SettingError(f"--ready-file {self._path}: {error.strerror}") from error

    def write(self, summary: Summary) -> None:
        """Write the file whole.

        Raises:
            SettingError: it cannot be written.
        """
        if self._path is None:
            return
        try:
            write_durable(self._path, json.dumps(asdict(summary), indent=2).encode() + b"\n", mode=PUBLIC)
        except OSError as error:
            raise SettingError(f"--ready-file {self._path}: {error.strerror}") from error
