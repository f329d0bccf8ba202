"""Which server to speak to, and with which key.

Guarantees: what the command line says goes before the environment, and that before what `redflag up` left; a key
found in a data directory is sent to no other address than the one beside it; a key never travels over plain http
to another machine.
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redflag.cli.options import Common
from redflag.cli.problems import ServerUnreachableError, UsageRefusedError
from redflag.up.data_dir import SYSTEM_DATA_DIR, DataDir, default_data_dir, pointer_file

KEY_FILE_MAX_BYTES: Final = 4096
CLI_FILE_MAX_BYTES: Final = 64 * 1024
POINTER_MAX_BYTES: Final = 4096  # a path

_KEY_HINT: Final = "give a key with --api-key-file, REDFLAG_API_KEY_FILE or REDFLAG_API_KEY"


@dataclass(frozen=True)
class Server:
    """Where the API is.

    Attributes:
        api_url: its origin, without a slash at the end.
        key: the API key.
        found: where the address comes from, for a person.
        data: the data directory of the `redflag up` that serves it; None for one named by its address.
        ca: file of the authority that vouches for it; None for the system's.
    """

    api_url: str
    key: str = field(repr=False)
    found: str
    data: DataDir | None = None
    ca: Path | None = None


def find_data_dir(asked: Path | None) -> DataDir:
    """Return the data directory meant: the one asked for, the one used last, or the default one."""
    if asked is not None:
        return DataDir(asked.absolute())
    try:
        text = _read(pointer_file(), POINTER_MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        text = ""  # never started by this user, or the note is damaged: the default is as good a guess
    return DataDir(Path(text) if text.startswith("/") else default_data_dir())


def find_server(common: Common, environment: Mapping[str, str]) -> Server:
    """Return the server that the options, the environment or a data directory name.

    Raises:
        ServerUnreachableError: nothing says where it is.
        UsageRefusedError: the address or the key is not usable.
    """
    url, found = _named_url(common, environment)
    if url is not None:
        url = check_url(url)  # a key for an address that is none would be asked for in vain
    key = _named_key(common, environment)
    if url is None:
        data = find_data_dir(common.data)
        url, beside, ca = _read_cli_file(data)
        key = key or _read_key(beside)
        return Server(check_url(url), key, str(data.cli_file), data, common.ca or ca)
    if key is None:
        raise UsageRefusedError(f"no API key for {url}", [_KEY_HINT])
    named_ca = environment.get("REDFLAG_API_CA")
    return Server(url, key, found, ca=common.ca or (Path(named_ca) if named_ca else None))


def check_url(text: str) -> str:
    """Return an API's address without a slash at its end.

    Raises:
        UsageRefusedError: it is no http(s) address, holds more than one, or is plain http to another machine.
    """
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise UsageRefusedError(
            f"{text!r} is no address of an API", ["write for example https://redflag.example"]
        )
    if parts.username is not None or parts.password is not None:
        raise UsageRefusedError("an address with a password in it is not used", [_KEY_HINT])
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageRefusedError(
            f"plain http to {host} would show the API key to the network",
            ["use https, or a tunnel to this machine"],
        )
    return text.strip().rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _named_url(common: Common, environment: Mapping[str, str]) -> tuple[str | None, str]:
    if common.api_url is not None:
        return common.api_url, "--api-url"
    if common.data is None and environment.get("REDFLAG_API_URL"):
        return environment["REDFLAG_API_URL"], "REDFLAG_API_URL"
    return None, ""


def _named_key(common: Common, environment: Mapping[str, str]) -> str | None:
    if common.api_key_file is not None:
        return _read_key(common.api_key_file)
    if common.data is not None and common.api_url is None:
        return None  # who names a data directory means the key beside its address, whatever is in the environment
    if environment.get("REDFLAG_API_KEY"):
        return _check_key(environment["REDFLAG_API_KEY"], "REDFLAG_API_KEY")
    if environment.get("REDFLAG_API_KEY_FILE"):
        return _read_key(Path(environment["REDFLAG_API_KEY_FILE"]))
    return None


def _read_cli_file(data: DataDir) -> tuple[str, Path, Path | None]:
    path = data.cli_file
    try:
        found = json.loads(_read(path, CLI_FILE_MAX_BYTES))
        ca = found.get("ca_file")
        return str(found["api_url"]), Path(found["admin_key_file"]), None if ca is None else Path(ca)
    except FileNotFoundError:
        raise ServerUnreachableError(
            f"there is no {path}: RedFlag was not started there", _start_hints(data)
        ) from None
    except PermissionError:
        raise UsageRefusedError(
            f"{path} may not be read by you",
            [
                "run this as the account that runs `redflag up`",
                "or name the server with --api-url and --api-key-file",
            ],
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageRefusedError(f"{path} cannot be read", ["`redflag up` writes it anew"]) from None


def _start_hints(data: DataDir) -> list[str]:
    hints = ["start it with `redflag up`, or name its data directory with --data"]
    if data.root != SYSTEM_DATA_DIR and SYSTEM_DATA_DIR.is_dir():
        hints.append(f"root's is in {SYSTEM_DATA_DIR}: run this as root")
    return [*hints, "for a server elsewhere give --api-url and --api-key-file"]


def _read_key(path: Path) -> str:
    try:
        return _check_key(_read(path, KEY_FILE_MAX_BYTES).decode("ascii"), str(path))
    except UnicodeDecodeError:
        raise UsageRefusedError(f"{path} holds no API key", [_KEY_HINT]) from None
    except OSError as error:
        raise UsageRefusedError(
            f"the API key in {path} cannot be read: {error.strerror}", [_KEY_HINT]
        ) from None


def _check_key(text: str, where: str) -> str:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageRefusedError(f"{where} holds no API key", [_KEY_HINT])
    return key


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)
