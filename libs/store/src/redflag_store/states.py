"""Closed lists of values that table columns may hold; the check constraints are made from them.

When you add a value, write a migration that replaces the check constraint: `redflag_store.migrate.check` does
not see check constraints, but the integration test that compares catalogs does.
"""

from enum import StrEnum


class AgentState(StrEnum):
    """Standing of an agent; only `active` ones get commands."""

    ACTIVE = "active"
    PENDING = "pending"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"


class KeyRole(StrEnum):
    """Which of a host's two keys: the network process's or the helper's."""

    AGENT = "agent"
    RECEIPT = "receipt"


class GenerationState(StrEnum):
    """Life of an access generation, docs/protocol.md 8.4."""

    ISSUED = "issued"
    CURRENT = "current"
    ENDED = "ended"


class CommandSource(StrEnum):
    """Who asked: an operator with a signed intent, or RedFlag itself."""

    MANUAL = "manual"
    SYSTEM = "system"


class UpdateEventKind(StrEnum):
    """What happened to an available update."""

    DISCOVERED = "discovered"
    CHANGED = "changed"
    GONE = "gone"
    APPROVED = "approved"
    REJECTED = "rejected"
    IGNORED = "ignored"
    RESET = "reset"
    INSTALLED = "installed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class Availability(StrEnum):
    """What the package manager says about a candidate."""

    AVAILABLE = "available"
    HELD = "held"
    KEPT_BACK = "kept_back"
    PHASED = "phased"
    PINNED = "pinned"


class UpdateSeverity(StrEnum):
    """How bad it is that an update is not installed, by the distribution's own data."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class PackageUpdateState(StrEnum):
    """Where an available update stands between discovery and the end."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    CHECKING_DEPENDENCIES = "checking_dependencies"
    PENDING_DEPENDENCIES = "pending_dependencies"
    INSTALLING = "installing"
    UPDATED = "updated"
    FAILED = "failed"
    IGNORED = "ignored"
    HELD = "held"


class ReportedState(StrEnum):
    """What a host says about a command in a report."""

    RECEIVED = "received"
    STARTED = "started"
    DONE = "done"


class Severity(StrEnum):
    """Weight of a system event."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class JobState(StrEnum):
    """Standing of a job: one operation over many hosts."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class JobItemState(StrEnum):
    """What became of one host's part of a job: no command yet, a command, or a refusal."""

    WAITING = "waiting"
    MADE = "made"
    REFUSED = "refused"
