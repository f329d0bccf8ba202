"""What the `redflag up` of a data directory left about its parts: addresses of probes, and the broker.

Guarantees: nothing is changed; a file that cannot be read is an error that says which.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redflag.cli.problems import ServerUnreachableError, UsageRefusedError
from redflag.up.data_dir import DataDir

LOOPBACK: Final = "127.0.0.1"
PROGRAMS: Final = ("dispatcher", "gateway", "dashboard")
_STATE_MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class Broker:
    """How to reach the broker.

    Attributes:
        url: its address for clients.
        seed_file: of the dispatcher's NKey seed.
        gateway_seed_file: of the gateway's; only to ask what it may do.
        monitor_url: of its monitoring; None for one that runs elsewhere.
    """

    url: str
    seed_file: Path
    gateway_seed_file: Path
    monitor_url: str | None


def read_ports(data: DataDir) -> dict[str, int]:
    """Return part -> port of the last start.

    Raises:
        ServerUnreachableError: RedFlag was not started there.
        UsageRefusedError: the file cannot be read.
    """
    path = data.state_file
    try:
        with path.open("rb") as file:
            ports = json.loads(file.read(_STATE_MAX_BYTES))["ports"]
        return {str(name): int(port) for name, port in ports.items()}
    except FileNotFoundError:
        raise ServerUnreachableError(
            f"there is no {path}: RedFlag was not started there",
            ["start it with `redflag up`, or name --data"],
        ) from None
    except OSError as error:
        raise UsageRefusedError(
            f"{path} cannot be read: {error.strerror}", ["run this as the account that runs `redflag up`"]
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageRefusedError(f"{path} cannot be read", ["`redflag up` writes it anew"]) from None


def ops_urls(ports: Mapping[str, int]) -> dict[str, str]:
    """Return program -> address of its probes and metrics."""
    return {
        name: f"http://{LOOPBACK}:{ports[f'ops-{name}']}" for name in PROGRAMS if ports.get(f"ops-{name}")
    }


def find_broker(data: DataDir, environment: Mapping[str, str]) -> Broker:
    """Return the broker that `redflag up` starts or was told of: the same settings replace the same parts.

    Raises:
        ServerUnreachableError: RedFlag was not started there, or started no broker.
        UsageRefusedError: the file about it cannot be read.
    """
    named = environment.get("REDFLAG_DISPATCHER_NATS_SEED_FILE")
    seed_file = Path(named) if named else data.secrets / "dispatcher.nk"
    named = environment.get("REDFLAG_GATEWAY_NATS_SEED_FILE")
    gateway_seed_file = Path(named) if named else data.secrets / "gateway.nk"
    url = environment.get("REDFLAG_NATS_URL")
    if url:
        return Broker(url, seed_file, gateway_seed_file, None)
    ports = read_ports(data)
    if "nats" not in ports:
        raise ServerUnreachableError("no broker was started there", ["name it with REDFLAG_NATS_URL"])
    monitor = ports.get("nats-monitor")
    return Broker(
        f"nats://{LOOPBACK}:{ports['nats']}",
        seed_file,
        gateway_seed_file,
        f"http://{LOOPBACK}:{monitor}" if monitor else None,
    )
