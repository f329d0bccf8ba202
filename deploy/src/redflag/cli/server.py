"""Finds the server a command is for: options first, then the environment, then this machine's own installation.

The key of this machine's installation goes to this machine's installation only: whoever names another address
names its key too.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redflag.cli.errors import CliError
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Common
from redflag.up.data_dir import DataDir, default_data_dir, pointer_file

URL = "REDFLAG_API_URL"
KEY = "REDFLAG_API_KEY"
KEY_FILE = "REDFLAG_API_KEY_FILE"
_FILE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Server:
    """Where to ask.

    Attributes:
        url: address of the API, without a path.
        key: the API key.
        local: the data directory of this machine's installation, when it is that one.
    """

    url: str
    key: str
    local: DataDir | None


def _usage(message: str, hint: str | None = None) -> CliError:
    return CliError(message, ExitCode.USAGE, hint=hint, code="configuration")


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as stream:
            text = stream.read(_FILE_MAX_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise _usage(f"{what} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _usage(f"{what} {path} is not a text file") from None
    if not text:
        raise _usage(f"{what} {path} is empty")
    return text


def data_dir(common: Common) -> DataDir:
    """The data directory of this machine's installation; it need not exist.

    Raises:
        CliError: the file that names the last one cannot be read.
    """
    if common.data is not None:
        return DataDir(common.data.absolute())
    pointer = pointer_file()
    if pointer.exists():
        return DataDir(Path(_read(pointer, "the pointer to the data directory")))
    return DataDir(default_data_dir())


def _local(common: Common) -> tuple[DataDir, Mapping[str, Any]]:
    data = data_dir(common)
    if not data.cli_file.exists():
        raise _usage(
            f"there is no installation in {data.root}",
            hint=f"start one with `redflag up`, say --data, or name a server: --api-url and --api-key-file, "
            f"or {URL} and {KEY_FILE}",
        )
    try:
        found = json.loads(_read(data.cli_file, "the file"))
        return data, {"api_url": str(found["api_url"]), "admin_key_file": str(found["admin_key_file"])}
    except (ValueError, KeyError, TypeError):
        raise _usage(
            f"{data.cli_file} is damaged", hint="start `redflag up` again to write it anew"
        ) from None


def find_server(common: Common, environment: Mapping[str, str] | None = None) -> Server:
    """Find the server.

    Raises:
        CliError: it is not named anywhere, or its key is not.
    """
    env = os.environ if environment is None else environment
    named = common.api_url or (None if common.data else env.get(URL))
    key = None
    if common.api_key_file is not None:
        key = _read(common.api_key_file, "the API key file")
    elif common.data is None:
        key = env.get(KEY) or None
        if key is None and env.get(KEY_FILE):
            key = _read(Path(env[KEY_FILE]), f"the API key file of {KEY_FILE}")
    if named is None:
        data, found = _local(common)
        return Server(_origin(found["api_url"]), key or _read(Path(found["admin_key_file"]), "the key"), data)
    if key is None:
        raise _usage(
            f"the server {named} is named, but no API key for it",
            hint=f"say --api-key-file, or set {KEY} or {KEY_FILE}",
        )
    return Server(_origin(named), key, None)


def _origin(text: str) -> str:
    scheme, _, rest = text.strip().rstrip("/").partition("://")
    if scheme not in ("http", "https") or not rest or any(sign in rest for sign in "/?#@ "):
        raise _usage(
            f"{text!r} is not the address of a server", hint="write it as https://redflag.example.org"
        )
    return f"{scheme}://{rest}"
