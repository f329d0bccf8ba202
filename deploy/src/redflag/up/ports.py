"""Which port each part listens on, the same again after a restart.

The two that agents and operators know (gateway and API) never move by themselves: when one is taken, the start
stops and says which option changes it. The inner ones are taken anew when somebody else has them meanwhile.
"""

import errno
import socket
from collections.abc import Callable, Mapping

from redflag.up.errors import PortTakenError, SettingError

LOOPBACK = "127.0.0.1"
DEFAULT_API_PORT = 7481
DEFAULT_GATEWAY_PORT = 7480
PORT_MAX = 65535

API = "api"
GATEWAY = "gateway"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a port can be listened on; port 0 always can.

    Args:
        port: the port.
        host: an address of this machine.

    Raises:
        OSError: for another reason than the port being taken, for example no right to a low one.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a connection of the last run that is still winding down takes nothing away.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def any_free() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class PortBook:
    """Chooses ports, starting from those of the last run.

    Args:
        kept: part -> port of the last run.
        free: tells whether a port is free.
        choose: gives one that is.
    """

    def __init__(
        self,
        kept: Mapping[str, int],
        *,
        free: Callable[[int], bool] = is_free,
        choose: Callable[[], int] = any_free,
    ) -> None:
        self._kept = dict(kept)
        self._free = free
        self._choose = choose
        self.chosen: dict[str, int] = {}

    def outer(
        self,
        part: str,
        what: str,
        option: str,
        asked: int | None,
        default: int,
        *,
        free: Callable[[int], bool] | None = None,
    ) -> int:
        """Return the port of a part that others know.

        Args:
            part: its name in the book.
            what: its name for people.
            option: the option that sets it.
            asked: what the option said; None when not given, 0 for the last run's, else any free one.
            default: for the first run without the option.
            free: tells whether a port is free where this part listens; loopback if not given.

        Raises:
            PortTakenError: it is in use.
            SettingError: it is no port, or not ours to take.
        """
        if asked is not None and not 0 <= asked <= PORT_MAX:
            raise SettingError(f"{option} {asked} is not a port; ports go from 0 to {PORT_MAX}")
        if asked:
            port = asked
        elif part in self._kept:
            port = self._kept[part]
        else:
            port = self._fresh() if asked == 0 else default
        try:
            free_now = port not in self.chosen.values() and (free or self._free)(port)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                listen = "--listen" if part == GATEWAY else "--api-listen"
                raise SettingError(
                    f"this machine does not have the address the {what} is to listen on; give {listen} one of its own "
                    "(`ip address` shows them), or 0.0.0.0 for all of them"
                ) from error
            raise SettingError(
                f"port {port} for the {what} cannot be used: {error.strerror}; choose another with {option} PORT"
            ) from error
        if not free_now:
            raise PortTakenError(port, what, option)
        self.chosen[part] = port
        return port

    def inner(self, part: str) -> int:
        """Return the port of a part that only RedFlag itself knows."""
        port = self._kept.get(part)
        if port is None or port in self.chosen.values() or not self._free(port):
            port = self._fresh()
        self.chosen[part] = port
        return port

    def _fresh(self) -> int:
        # A port chosen a moment ago is not bound yet, so the kernel may offer it again.
        port = self._choose()
        while port in self.chosen.values():
            port = self._choose()
        return port
