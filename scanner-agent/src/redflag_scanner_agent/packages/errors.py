"""Errors of package managers: one family, so that the helper handles one type whatever the manager.

Every public method of a `PackageManager` raises `PackageManagerError` or nothing: programs that cannot be
started, time limits and unreadable output are wrapped here. `code` is a short stable word for reports and
counters, `detail` is for people and may quote the package manager.
"""

from typing import ClassVar

DETAIL_MAX_CHARS = 2000  # characters kept of `detail`


class PackageManagerError(Exception):
    """A package manager could not do what was asked.

    Attributes:
        code: short snake_case reason, the same for every manager.
        detail: one line or a few for people, at most DETAIL_MAX_CHARS characters.
    """

    default_code: ClassVar[str] = "package_manager"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        self.code = code if code is not None else self.default_code
        self.detail = detail[:DETAIL_MAX_CHARS]
        super().__init__(f"{self.code}: {self.detail}")


class LockHeldError(PackageManagerError):
    """Another program holds the package manager's lock and did not let go in time; it is named in `holder`."""

    default_code = "lock_held"

    def __init__(self, detail: str, *, holder: str) -> None:
        self.holder = holder
        super().__init__(detail)


class MirrorUnreachableError(PackageManagerError):
    """What must be downloaded could not be; nothing on the host was changed."""

    default_code = "mirror_unreachable"


class NameRefusedError(PackageManagerError):
    """A requested name, architecture or version is not written as this manager writes them."""

    default_code = "name_refused"


class NotAvailableError(PackageManagerError):
    """A well-formed request names something that this host's own fresh inventory does not offer."""

    default_code = "not_available"


class HeldError(PackageManagerError):
    """The host's administrator holds a requested package; only that host can release it."""

    default_code = "held"


class PinnedError(HeldError):
    """A preferences file of the host's administrator keeps a requested version away; only that host can change it."""

    default_code = "pinned"


class UntrustedSourceError(PackageManagerError):
    """A package comes from an archive whose signature was not verified and whom the host does not trust either."""

    default_code = "untrusted_source"


class DatabaseInterruptedError(PackageManagerError):
    """The manager's last run was cut off and left its database half written; nothing was changed."""

    default_code = "dpkg_interrupted"


class CancelledByOperatorError(PackageManagerError):
    """Raised by an `on_step` callback to stop an installation.

    It takes hold at the beginning of every step up to and including `install`: the manager has not been told to
    change anything by then. An `on_step` called with `verify` must not raise it; there is nothing left to stop.
    """

    default_code = "cancelled"


class UnresolvableError(PackageManagerError):
    """The manager found no consistent way to do what was requested."""

    default_code = "unresolvable"


class InstallRefusedError(PackageManagerError):
    """This manager may look on this host but not install (see its capability)."""

    default_code = "install_not_possible"


class ConfigRefusedError(PackageManagerError):
    """The setting that gives a manager its private root does not do so; the host itself is not touched instead."""

    default_code = "config_refused"


class ProgramMissingError(PackageManagerError):
    """A program of the package manager is not there or cannot be started."""

    default_code = "program_missing"


class ProgramFailedError(PackageManagerError):
    """A program of the package manager ended with an error that has no reason of its own here."""

    default_code = "program_failed"


class ProgramTimeoutError(PackageManagerError):
    """A program of the package manager ran longer than it may and was ended."""

    default_code = "program_timeout"


class OutputRefusedError(PackageManagerError):
    """A program's output is longer than any honest one, or not of the expected form."""

    default_code = "output_refused"
