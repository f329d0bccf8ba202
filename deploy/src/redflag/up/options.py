"""What `redflag up` was asked to do: its options, and the settings of the environment that replace parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redflag.up.reporter import LogFormat

# What every child gets of our own environment: where programs are, how text is encoded, how the net is reached.
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "REDFLAG_OPS_TOKEN_FILE",
    "REDFLAG_FAILPOINT",
)


@dataclass(frozen=True)
class ServingOptions:
    """How others reach RedFlag; see `redflag.up.serving`."""

    listen: str | None = None
    api_listen: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    public_url: str | None = None
    behind_proxy: bool = False


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    data: Path
    agent: bool = True
    ready_file: Path | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    api_port: int | None = None
    gateway_port: int | None = None
    serving: ServingOptions = ServingOptions()


@dataclass(frozen=True)
class External:
    """Parts that run elsewhere; None means the embedded one."""

    database_url: str | None = None  # the owner's
    dispatcher_database_url: str | None = None
    dashboard_database_url: str | None = None
    nats_url: str | None = None
    gateway_nats_seed_file: Path | None = None
    dispatcher_nats_seed_file: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "External":
        """Read the settings; an empty one counts as not set."""

        def path(name: str) -> Path | None:
            return Path(environment[name]) if environment.get(name) else None

        return cls(
            database_url=environment.get("REDFLAG_DATABASE_URL") or None,
            dispatcher_database_url=environment.get("REDFLAG_DISPATCHER_DATABASE_URL") or None,
            dashboard_database_url=environment.get("REDFLAG_DASHBOARD_DATABASE_URL") or None,
            nats_url=environment.get("REDFLAG_NATS_URL") or None,
            gateway_nats_seed_file=path("REDFLAG_GATEWAY_NATS_SEED_FILE"),
            dispatcher_nats_seed_file=path("REDFLAG_DISPATCHER_NATS_SEED_FILE"),
        )


def child_environment(environment: Mapping[str, str], program: str) -> dict[str, str]:
    """Return what a child may see of our environment.

    No child gets another one's settings: the owner's database URL, above all, goes to nobody.

    Args:
        environment: ours.
        program: the child's name as it stands in its settings, for example `gateway`.
    """
    own = f"REDFLAG_{program.upper()}_"
    return {name: value for name, value in environment.items() if name in _INHERITED or name.startswith(own)}
