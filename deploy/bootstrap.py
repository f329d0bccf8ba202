"""Make the virtual environment and install RedFlag into it; needs nothing but Python 3.11 and its venv module.

Run by the Makefile with the system's Python. Everything comes from the hashed lock in ``requirements/``; the
members of this repository are installed editable, without looking anything up. Running it again is harmless.
"""

from __future__ import annotations  # so that an old Python gets as far as being told that it is old

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
MEMBERS = (
    "libs/wire",
    "libs/ops",
    "libs/store",
    "broker-config",
    "gateway",
    "dispatcher",
    "scanner-agent",
    "dashboard",
    "deploy",
)
AGENT_MEMBERS = ("libs/wire", "libs/ops", "scanner-agent")


class BootstrapError(Exception):
    """The environment cannot be made; the text says what to do in one line."""


def check_python() -> None:
    """Say what is missing before anything is made.

    Raises:
        BootstrapError: this Python is too old, or lacks the venv module.
    """
    version = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise BootstrapError(
            f"RedFlag needs Python 3.11 or newer, this is {version}; "
            "name another one with: make PYTHON=/path/to/python3"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise BootstrapError(
            f"Python's venv module is missing; install it with: apt-get install python{version}-venv"
        )


def run(*command: str) -> None:
    """Run one step; its own output is shown only when it fails.

    Raises:
        BootstrapError: the step failed.
    """
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-4000:])
        raise BootstrapError(f"this step failed (see above): {' '.join(command[:4])} ...")


def index_of_pip(python: Path) -> tuple[str, ...]:
    """Return the options that make uv look where this machine's pip is told to look: a site's own mirror."""
    asked = (str(python), "-m", "pip", "config", "get", "global.index-url")
    configured = subprocess.run(asked, check=False, capture_output=True, text=True)
    index = os.environ.get("PIP_INDEX_URL") or configured.stdout.strip()
    return ("--default-index", index) if index else ()


def make_environment(target: Path, lock: str, members: tuple[str, ...]) -> None:
    """Make the environment if needed and bring it to what the lock says."""
    python = target / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", str(target))
    uv = target / "bin" / "uv"
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
        "-r", "requirements/bootstrap.txt")  # fmt: skip
    os.environ["VIRTUAL_ENV"] = str(target)
    install = (str(uv), "pip", "install", "--quiet", "--system-certs", *index_of_pip(python))
    run(*install, "--require-hashes", "-r", f"requirements/{lock}.txt")
    editable = [part for member in members for part in ("-e", member)]
    run(*install, "--no-build-isolation", "--no-deps", *editable)


def main() -> int:
    """Make the environment the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(description="Make RedFlag's virtual environment from the hashed lock.")
    parser.add_argument("lock", choices=["run", "dev", "agent-test"], help="which lock to install")
    parser.add_argument("--venv", default=".venv", help="where, below the repository (default: .venv)")
    arguments = parser.parse_args()
    members = AGENT_MEMBERS if arguments.lock == "agent-test" else MEMBERS
    try:
        check_python()
        make_environment(ROOT / arguments.venv, arguments.lock, members)
    except BootstrapError as error:
        sys.stderr.write(f"redflag: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
