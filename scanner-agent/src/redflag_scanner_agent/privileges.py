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
from redflag_scanner_agent.process_attributes import gain_no_privileges, kept_over_change_of_account

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
    """Give the network process's own directory, and the plain files in it, to the account.

    The account could write there before: links are not followed, and a file that has a second name elsewhere stays
    whose it is.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(handle, account.pw_uid, account.pw_gid)
        for name in os.listdir(handle):  # noqa: PTH208 - of the open directory, not of a path
            _hand_over_file(handle, name, account)
    finally:
        os.close(handle)


def _hand_over_file(directory: int, name: str, account: pwd.struct_passwd) -> None:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        log.warning("privileges.not_handed_over", name=name, reason=error.strerror)
        return
    try:
        about = os.fstat(handle)
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            os.fchown(handle, account.pw_uid, account.pw_gid)
    finally:
        os.close(handle)


def drop_to(account: pwd.struct_passwd) -> None:
    """Become the account and check that there is no way back.

    Raises:
        ConfigurationError: the kernel did not let go of the rights.
    """
    for module in _LATER:
        importlib.import_module(module)
    for codec in _CODECS:
        codecs.lookup(codec)
    with kept_over_change_of_account():
        os.setgroups([])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    gain_no_privileges()
    os.umask(0o077)
    if 0 in {*os.getresuid(), *os.getresgid()} or os.getgroups():
        raise ConfigurationError("the network process could not give its privileges up")
    log.info("privileges.dropped", account=account.pw_name)
