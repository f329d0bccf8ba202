"""Reading settings: listen addresses, secret files, and one clear line when a setting is wrong."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from redflag_ops.errors import ConfigurationError

SECRET_FILE_MAX_BYTES = 64 * 1024  # a key, a token or a password; anything larger is the wrong file
PORT_MAX = 65535

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read a program's settings from its environment.

    Raises:
        ConfigurationError: a setting is missing or wrong; the text names each by its environment name.
    """
    prefix = settings_class.model_config.get("env_prefix", "")
    try:
        return settings_class()
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            faults.append(f"{prefix}{name}".upper() + ": " + fault["msg"])
        raise ConfigurationError("; ".join(faults)) from None


def parse_listen(text: str) -> tuple[str, int]:
    """Split ``host:port`` (IPv6 hosts in brackets); port 0 means any free port.

    Raises:
        ConfigurationError: there is no host, or the port is not a number from 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise ConfigurationError(f"'{text}' is not an address to listen on; write it as 127.0.0.1:7480")
    return host, int(port)


def read_secret(path: Path, what: str) -> str:
    """Read a secret from a file, without the white space around it.

    Args:
        path: the file.
        what: what the file holds, for the error's text.

    Raises:
        ConfigurationError: the file cannot be read, is empty, too large or not text.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(SECRET_FILE_MAX_BYTES + 1)
        text = data.decode("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{what}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what}: {path} is not a text file") from None
    if not text or len(data) > SECRET_FILE_MAX_BYTES:
        raise ConfigurationError(f"{what}: {path} is empty or too large")
    return text
