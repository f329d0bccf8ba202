"""Giving the network process's rights up: an existing account without any, for good (docs/protocol.md 7)."""

import codecs
import contextlib
import importlib
import os
import pwd
import stat
from pathlib import Path

from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger

ACCOUNTS = ("redflag-agent", "nobody")  # the first that exists, unless a setting names one

# What Python loads on first use. The interpreter may live where the account must not look, so it comes before.
_LATER = (
    "aiohttp.resolver",
    "aiohttp.connector",
    "asyncio.sslproto",
    "asyncio.staggered",
    "concurrent.futures.thread",
    "email.parser",
    "http.cookies",
    "ssl",
    "structlog.dev",
    "traceback",
    "zlib",
)
_CODECS = ("idna", "punycode", "utf-8", "ascii", "latin-1", "unicode_escape", "raw_unicode_escape")

log = get_logger()


def account_for(name: str | None) -> pwd.struct_passwd:
    """Return the account to become.

    Raises:
        ConfigurationError: the named one does not exist, or none of the usual ones does, or it is root.
    """
    for candidate in ACCOUNTS if name is None else (name,):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(candidate)
            if account.pw_uid == 0:
                raise ConfigurationError(f"REDFLAG_AGENT_ACCOUNT: {candidate} is root")
            return account
    wanted = name or " or ".join(ACCOUNTS)
    raise ConfigurationError(f"there is no account {wanted}; make one or set REDFLAG_AGENT_ACCOUNT")


def hand_over(directory: Path, account: pwd.struct_passwd) -> None:
    """Give the network process's own directory, and the files in it, to the account."""
    for name in (directory, *directory.iterdir()):
        about = name.lstat()
        if stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode):
            os.chown(name, account.pw_uid, account.pw_gid, follow_symlinks=False)


def drop_to(account: pwd.struct_passwd) -> None:
    """Become the account and check that there is no way back.

    Raises:
        ConfigurationError: the kernel did not let go of the rights.
    """
    for module in _LATER:
        importlib.import_module(module)
    for codec in _CODECS:
        codecs.lookup(codec)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    os.umask(0o077)
    if 0 in {*os.getresuid(), *os.getresgid()} or os.getgroups():
        raise ConfigurationError("the network process could not give its privileges up")
    log.info("privileges.dropped", account=account.pw_name)
