"""Secrets that only this machine's programs share: database passwords, broker seeds, the gateways' key, the admin's.

Each is made when it is first asked for and kept in a file of its own, for its owner only.
"""

from collections.abc import Callable
from pathlib import Path

from redflag.keys.durable_file import load_or_make
from redflag.keys.errors import KeyFileError
from redflag_broker_config.connect import make_seed, public_key
from redflag_broker_config.permissions import Service

PASSWORD_BYTES = 24  # 192 bits
HMAC_BYTES = 32


class Credentials:
    """The secrets in one directory.

    Args:
        directory: exists, and is for nobody but us.
        random: gives that many bytes from a cryptographic source.
    """

    def __init__(self, directory: Path, random: Callable[[int], bytes]) -> None:
        self._directory = directory
        self._random = random

    def database_password(self, role: str) -> str:
        """Return the password of a database role.

        Raises:
            KeyFileError: the file is damaged or cannot be read or written.
        """
        return self._text(f"postgres-{role}.password", lambda: self._random(PASSWORD_BYTES).hex())[1]

    def gateway_hmac_file(self) -> Path:
        """Return the file of the key that gateways share, in hexadecimal.

        Raises:
            KeyFileError: as above.
        """
        return self._text("gateway.hmac", lambda: self._random(HMAC_BYTES).hex())[0]

    def nats_seed_file(self, service: Service) -> Path:
        """Return the file of a service's broker seed.

        Raises:
            KeyFileError: as above.
        """
        return self._seed(service)[0]

    def nats_users(self) -> dict[Service | str, str]:
        """Return each service's public key for the broker's configuration.

        Raises:
            KeyFileError: as above.
        """
        return {service: public_key(self._seed(service)[1]) for service in Service}

    def admin_key(self, make: Callable[[], str]) -> tuple[Path, str]:
        """Return the admin's API key and its file.

        Raises:
            KeyFileError: as above.
        """
        return self._text("admin.key", make)

    def _seed(self, service: Service) -> tuple[Path, str]:
        return self._text(f"{service.value}.nk", lambda: make_seed(self._random))

    def _text(self, name: str, make: Callable[[], str]) -> tuple[Path, str]:
        path = self._directory / name
        try:
            text = load_or_make(path, make)
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(path, str(error)) from error
        if not text:
            raise KeyFileError(path, "it is empty")
        return path, text
