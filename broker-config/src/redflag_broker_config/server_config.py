"""The nats-server configuration file, written from the same definition as the streams and permissions.

It guarantees: no anonymous access, one account for RedFlag and a separate system account, NKey users with the
permissions of `permissions`, the payload limit the wire needs, and a sync to disk before each acknowledgement.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.permissions import (
    Permissions,
    Service,
    dispatcher_permissions,
    gateway_permissions,
)
from redflag_broker_config.streams import FILE_STORE_MAX_BYTES, MAX_PAYLOAD_BYTES, MEMORY_STORE_MAX_BYTES

ACCOUNT = "RF"
SYSTEM_ACCOUNT = "SYS"

_PUBLIC_NKEY_CHARS = 56


def _text(value: str) -> str:
    """Quote a text for the configuration file; its strings follow JSON's rules for printable ASCII."""
    if not value.isascii() or not value.isprintable():
        raise ValueError(value)
    return json.dumps(value)


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"


def _user(public: str, permissions: Permissions | None) -> str:
    if len(public) != _PUBLIC_NKEY_CHARS or not public.startswith("U") or not public.isalnum():
        raise CredentialsError(repr(public))
    if permissions is None:
        return f"{{ nkey: {public} }}"
    return (
        f"{{ nkey: {public}, permissions: {{\n"
        f"        publish: {{ allow: {_list(permissions.publish)} }}\n"
        f"        subscribe: {{ allow: {_list(permissions.subscribe)} }}\n"
        "      } }"
    )


def render_server_config(
    store_dir: Path,
    listen: str,
    users: Mapping[Service | str, str],
    *,
    monitor_listen: str | None,
    ports_file_dir: Path | None = None,
    sync_always: bool = True,
    max_file_store: int = FILE_STORE_MAX_BYTES,
    server_name: str = "redflag",
) -> str:
    """Return the text of the configuration file for a single server.

    Args:
        store_dir: where JetStream keeps its data.
        listen: ``host:port`` for clients; port -1 takes a free one.
        users: each service's public NKey; gateway and dispatcher must be there, system may.
        monitor_listen: ``host:port`` of the monitoring endpoint, to be kept on loopback; None for none.
        ports_file_dir: where the server writes the ports it took, as ``nats-server_<pid>.ports``.
        sync_always: whether every write is synced before it is acknowledged. With the server's default, two
            minutes of acknowledged messages are gone after a power cut.
        max_file_store: bytes JetStream may use on disk.
        server_name: shown in monitoring.

    Raises:
        CredentialsError: a value of ``users`` is not a user's public NKey.
        KeyError: gateway or dispatcher is missing from ``users``.
        ValueError: a service or path is not usable in the file.
    """
    keys = {Service(service): key for service, key in users.items()}
    lines = [
        f"server_name: {_text(server_name)}",
        f"listen: {_text(listen)}",
    ]
    if monitor_listen is not None:
        lines.append(f"http: {_text(monitor_listen)}")
    if ports_file_dir is not None:
        lines.append(f"ports_file_dir: {_text(str(ports_file_dir))}")
    lines += [
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        "jetstream {",
        f"  store_dir: {_text(str(store_dir))}",
        f"  max_memory_store: {MEMORY_STORE_MAX_BYTES}",
        f"  max_file_store: {max_file_store}",
    ]
    if sync_always:
        lines.append("  sync_interval: always")
    lines += [
        "}",
        "accounts {",
        f"  {ACCOUNT} {{",
        "    jetstream: enabled",
        "    users: [",
        f"      {_user(keys[Service.GATEWAY], gateway_permissions())}",
        f"      {_user(keys[Service.DISPATCHER], dispatcher_permissions())}",
        "    ]",
        "  }",
        f"  {SYSTEM_ACCOUNT} {{",
        f"    users: [{_user(keys[Service.SYSTEM], None) if Service.SYSTEM in keys else ''}]",
        "  }",
        "}",
        f"system_account: {SYSTEM_ACCOUNT}",
        "",
    ]
    return "\n".join(lines)
