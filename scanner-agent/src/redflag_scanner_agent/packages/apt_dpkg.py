"""What dpkg knows about the packages of a host, and how that compares with a plan.

Rules only. dpkg's own database is the judge of what happened: not apt's exit code, not its output.
"""

from collections.abc import Iterable
from dataclasses import dataclass

FORMAT = (
    r"${Package}\t${Architecture}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\t${db:Status-Eflag}\n"
)
_FIELDS = 6
_GONE = frozenset({"not-installed", "config-files"})


@dataclass(frozen=True, kw_only=True)
class DpkgState:
    """One package in dpkg's database, as `dpkg-query` prints its three status words."""

    name: str
    arch: str
    version: str
    want: str  # install, hold, deinstall, purge, unknown
    status: str  # installed, half-configured, unpacked, half-installed, triggers-pending, config-files, ...
    flag: str  # ok, reinstreq

    @property
    def present(self) -> bool:
        """Whether its files are on the host, in whatever state."""
        return self.status not in _GONE

    @property
    def sound(self) -> bool:
        """Whether it is installed and configured."""
        return self.status == "installed" and self.flag == "ok"

    @property
    def held(self) -> bool:
        """Whether the administrator holds it."""
        return self.want == "hold"


class DpkgStates:
    """All packages of one host, found by name and architecture.

    `all` and the native architecture name the same package for apt, and an update may change one into the
    other, so both are looked up alike.
    """

    def __init__(self, states: Iterable[DpkgState], native: str) -> None:
        self.native = native
        self._by_key = {(state.name, self.package_arch(state.arch)): state for state in states}

    def package_arch(self, arch: str) -> str:
        """The architecture under which apt keeps a package: the native one for `all` and for none."""
        return self.native if arch in {"all", ""} else arch

    def get(self, name: str, arch: str) -> DpkgState | None:
        """The state of one package, or None when dpkg does not know it."""
        return self._by_key.get((name, self.package_arch(arch)))

    def version(self, name: str, arch: str) -> str | None:
        """The version that is on the host, in whatever state, or None."""
        state = self.get(name, arch)
        return state.version if state is not None and state.present else None

    def present(self) -> list[DpkgState]:
        """Every package that is on the host, in whatever state."""
        return [state for state in self._by_key.values() if state.present]

    def unsound(self) -> list[DpkgState]:
        """Packages that are on the host but not installed and configured."""
        return [state for state in self.present() if not state.sound]


def parse_states(text: str, native: str) -> DpkgStates:
    """Read the output of `dpkg-query --show` with FORMAT; lines of another form are left out."""
    states = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == _FIELDS and fields[0]:
            name, arch, version, want, status, flag = fields
            states.append(
                DpkgState(name=name, arch=arch, version=version, want=want, status=status, flag=flag)
            )
    return DpkgStates(states, native)
