"""Signing the Release files of a bed's repository with a key made for it, by the real gpg."""

import subprocess
from pathlib import Path

GPG = "/usr/bin/gpg"
GPGCONF = "/usr/bin/gpgconf"
RUN_TIMEOUT_S = 60


class ReleaseSigner:
    """One Ed25519 key in a directory of its own.

    Args:
        home: gpg's home; made here. Its path must be short: gpg-agent makes a socket in it, or below /run/user.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(mode=0o700)
        try:
            self._gpg("--quick-gen-key", "bed@example.org", "ed25519", "sign", "never")
            self.public_key = self._gpg("--export")
        finally:
            self._end_agent()

    def sign(self, release: Path) -> None:
        """Write InRelease beside a Release file."""
        try:
            self._gpg("--yes", "--output", str(release.with_name("InRelease")), "--clearsign", str(release))
        finally:
            self._end_agent()

    def _gpg(self, *arguments: str) -> bytes:
        argv = [
            GPG,
            "--homedir",
            str(self._home),
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return subprocess.run(
            [*argv, *arguments], check=True, capture_output=True, timeout=RUN_TIMEOUT_S
        ).stdout

    def _end_agent(self) -> None:
        # gpg starts an agent that would outlive the test.
        subprocess.run(
            [GPGCONF, "--homedir", str(self._home), "--kill", "gpg-agent"],
            check=False, capture_output=True, timeout=RUN_TIMEOUT_S,
        )  # fmt: skip
