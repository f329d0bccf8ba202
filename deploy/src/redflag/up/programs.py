"""How each of RedFlag's own programs is started: its command, its environment, and when it is ready.

Each gets the settings it needs and no other's secrets: the database passwords go to dispatcher and dashboard one
by one, signing keys to the dispatcher, the intent key to the dashboard, nothing of either to gateway and agent.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redflag.embedded.launch import Launch
from redflag.keys.fleet_keys import FleetKeys, key_file
from redflag.up.data_dir import DataDir
from redflag.up.leftovers import end_leftovers, mark
from redflag.up.options import child_environment
from redflag.up.ports import LOOPBACK
from redflag.up.readiness import ask_http
from redflag.up.serving import Address, Serving
from redflag.up.supervisor import Program
from redflag_wire.payload_types import KeyUse

AGENT_STOP_GRACE_S = 10.0  # its root helper may be in the middle of an installation and finishes that step
AGENT_READY_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Wiring:
    """Everything the programs need to find each other."""

    data: DataDir
    keys: FleetKeys
    environment: Mapping[str, str]  # ours, filtered for each child
    ports: Mapping[str, int]
    dispatcher_database_url: str
    dashboard_database_url: str
    nats_url: str
    gateway_seed_file: Path
    dispatcher_seed_file: Path
    gateway_hmac_file: Path
    serving: Serving

    @property
    def gateway_url(self) -> str:
        """The gateway's address for agents."""
        return self.serving.gateway_url(self.ports["gateway"])

    @property
    def api_url(self) -> str:
        """The API's address for operators on this machine."""
        return self.serving.api_url(self.ports["api"])

    def ops_url(self, name: str) -> str:
        """The address of a program's probes and metrics."""
        return f"http://{LOOPBACK}:{self.ports[f'ops-{name}']}"


def dispatcher(wiring: Wiring) -> Program:
    """Return the dispatcher."""
    return _server(
        wiring,
        "dispatcher",
        {
            "REDFLAG_DISPATCHER_DATABASE_URL": wiring.dispatcher_database_url,
            "REDFLAG_NATS_URL": wiring.nats_url,
            "REDFLAG_DISPATCHER_NATS_SEED_FILE": str(wiring.dispatcher_seed_file),
            "REDFLAG_KEYS_DIR": str(wiring.keys.keys_dir),
        },
    )


def gateway(wiring: Wiring) -> Program:
    """Return the gateway."""
    return _server(
        wiring,
        "gateway",
        {
            "REDFLAG_GATEWAY_LISTEN": _listen(wiring.serving.gateway, wiring.ports["gateway"]),
            **_tls(wiring.serving, "GATEWAY", wanted=True),
            "REDFLAG_GATEWAY_ORIGIN": wiring.gateway_url,
            "REDFLAG_NATS_URL": wiring.nats_url,
            "REDFLAG_GATEWAY_NATS_SEED_FILE": str(wiring.gateway_seed_file),
            "REDFLAG_GATEWAY_HMAC_FILE": str(wiring.gateway_hmac_file),
            "REDFLAG_ROOT_FINGERPRINT": wiring.keys.root_fingerprint.hex(),
        },
    )


def dashboard(wiring: Wiring) -> Program:
    """Return the dashboard."""
    return _server(
        wiring,
        "dashboard",
        {
            "REDFLAG_DASHBOARD_LISTEN": _listen(wiring.serving.api, wiring.ports["api"]),
            **_tls(wiring.serving, "DASHBOARD", wanted=wiring.serving.api_has_tls),
            "REDFLAG_DASHBOARD_DATABASE_URL": wiring.dashboard_database_url,
            "REDFLAG_INTENT_KEY_FILE": str(key_file(wiring.keys.keys_dir, KeyUse.INTENT)),
            "REDFLAG_GATEWAY_ORIGIN": wiring.gateway_url,
            "REDFLAG_GATEWAY_CA_FILE": str(wiring.serving.ca or ""),
        },
    )


def agent(wiring: Wiring, token_file: Path | None, enrolled: Callable[[], Awaitable[str | None]]) -> Program:
    """Return this host's agent, which polls back to back so that a click acts at once.

    Args:
        wiring: where everything is.
        token_file: the enrolment token; None once it has been used.
        enrolled: None when the host is known, else why not.
    """
    settings = {
        "REDFLAG_AGENT_SERVER": wiring.gateway_url,
        "REDFLAG_AGENT_STATE_DIR": str(wiring.data.agent),
        "REDFLAG_AGENT_FAST": "1",
    }
    if wiring.serving.ca is not None:
        settings["REDFLAG_AGENT_CA"] = str(wiring.serving.ca)
    if token_file is not None:
        settings["REDFLAG_AGENT_TOKEN_FILE"] = str(token_file)

    async def ready(_pid: int) -> str | None:
        return await enrolled()

    return Program(
        name="agent",
        title="Agent",
        launch=lambda: _launch(wiring, "agent", "redflag_scanner_agent", settings, ("run",)),
        ready=ready,
        before=lambda: _clean(wiring.data, "agent"),
        # A helper of the last run may still be finishing an installation; the new one waits for it, and nothing
        # else has to.
        says=frozenset({"agent.ready", "helper.waits_for_another"}),
        ready_deadline_s=AGENT_READY_DEADLINE_S,
        stop_grace_s=AGENT_STOP_GRACE_S,
    )


def _listen(address: Address, port: int) -> str:
    return f"[{address.host}]:{port}" if ":" in address.host else f"{address.host}:{port}"


def _tls(serving: Serving, program: str, *, wanted: bool) -> dict[str, str]:
    # All three are always said: what stands in our own environment must not decide about one program alone.
    return {
        f"REDFLAG_{program}_TLS_CERT": str(serving.cert) if wanted and serving.cert else "",
        f"REDFLAG_{program}_TLS_KEY": str(serving.key) if wanted and serving.key else "",
        f"REDFLAG_{program}_BEHIND_PROXY": "1" if serving.behind_proxy else "0",
    }


def _server(wiring: Wiring, name: str, settings: Mapping[str, str]) -> Program:
    complete = {
        **settings,
        "REDFLAG_FLEET": str(wiring.keys.fleet),
        "REDFLAG_OPS_LISTEN": f"{LOOPBACK}:{wiring.ports[f'ops-{name}']}",
        "REDFLAG_LOG_FORMAT": "json",
    }
    probe = f"{wiring.ops_url(name)}/readyz"
    return Program(
        name=name,
        title=name.capitalize(),
        launch=lambda: _launch(wiring, name, f"redflag_{name}", complete),
        ready=lambda _pid: ask_http(probe),
        before=lambda: _clean(wiring.data, name),
    )


def _launch(
    wiring: Wiring, name: str, module: str, settings: Mapping[str, str], arguments: tuple[str, ...] = ()
) -> Launch:
    environment = {
        **child_environment(wiring.environment, name),
        **settings,
        **mark(wiring.data.root, name),
        "PYTHONUNBUFFERED": "1",
    }
    # -P keeps the directory we were started in out of the child's import path.
    return Launch((sys.executable, "-P", "-m", module, *arguments), environment)


async def _clean(data: DataDir, name: str) -> None:
    """End what a previous process of this program left behind, for example a helper of its own."""
    await asyncio.to_thread(end_leftovers, data.root, program=name)
