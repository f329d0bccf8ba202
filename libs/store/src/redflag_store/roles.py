"""The programs' database roles: giving them a password, and the URL to reach the database as one of them.

Guarantees: a password never travels to the server in the clear and never shows in its log, because only its
SCRAM verifier (RFC 5803) is sent; setting the same password again is harmless. The first migrations make the
roles and their grants.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from sqlalchemy import make_url, text

from redflag_store.engine import one_connection
from redflag_store.errors import StoreError

SCRAM_ITERATIONS: Final = 4096  # PostgreSQL's own default; the passwords are random, not chosen by people
_SALT_BYTES: Final = 16
_LOCK_KEY: Final = 0x52_46_52_4F  # "RFRO"


class Role(StrEnum):
    """The roles that programs log in as; the owner's name is the installation's choice."""

    DISPATCHER = "redflag_dispatcher"
    DASHBOARD = "redflag_dashboard"


class PasswordRefusedError(StoreError):
    """A role's password is empty or not printable ASCII, whose SCRAM form is not the same everywhere."""

    def __init__(self) -> None:
        super().__init__("a role's password must be 1 to 256 printable ASCII characters")


def scram_verifier(password: str, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """What PostgreSQL stores for `password` (RFC 5803 with PostgreSQL's separators).

    Raises:
        PasswordRefusedError: not 1 to 256 printable ASCII characters.
    """
    if not (password and len(password) <= 256 and password.isascii() and password.isprintable()):  # noqa: PLR2004
        raise PasswordRefusedError
    salt = random(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{b64[0]}${b64[1]}:{b64[2]}"


async def set_login(owner_url: str, role: Role | str, password: str) -> None:
    """Let `role` log in with `password`; a password it had before is void.

    Raises:
        PasswordRefusedError: see `scram_verifier`.
        ValueError: not one of `Role`.
        DatabaseUnreachableError: no connection.
    """
    role = Role(role)
    verifier = scram_verifier(password)
    async with one_connection(owner_url, application_name="redflag-roles") as connection:
        # Two at once would fail with "tuple concurrently updated".
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        # Utility statements take no parameters. The role is one of ours and a verifier holds no quote.
        await connection.execute(text(f"ALTER ROLE {role} LOGIN PASSWORD '{verifier}'".replace(":", r"\:")))
        await connection.commit()


def role_url(owner_url: str, role: Role | str, password: str) -> str:
    """The URL of the owner's database for `role`: the same server, name and options.

    Raises:
        ValueError: not one of `Role`.
    """
    url = make_url(owner_url).set(username=Role(role), password=password)
    return url.render_as_string(hide_password=False)
