"""Small parts of `apt_bed`: its apt.conf, control stanzas, and running programs."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

RUN_TIMEOUT_S = 60


def dpkg_options(root: Path) -> tuple[str, ...]:
    """What dpkg needs to work on a private root."""
    return (
        f"--root={root}", "--force-not-root", "--force-script-chrootless", "--force-unsafe-io",
        f"--log={root}/var/log/dpkg.log",
    )  # fmt: skip


def config(root: Path, native: str, *, locking: bool) -> str:
    """The text of a bed's apt.conf."""
    return "\n".join(
        [
            f'Dir "{root}/";',
            f'Dir::State::status "{root}/var/lib/dpkg/status";',
            f'APT::Architecture "{native}";',
            f'APT::Architectures "{native}";',
            'APT::Sandbox::User "";',
            # The same machine for ever: whether a phased update reaches it depends on this number.
            'APT::Machine-ID "0123456789abcdef0123456789abcdef";',
            'Acquire::Languages "none";',
            # The bed's sources stand for the distribution's own, so that it has security updates.
            'RedFlag::Security-Sites { "localhost"; };',
            f'Debug::NoLocking "{"false" if locking else "true"}";',
            "DPkg::Options {",
            *(f'  "{option}";' for option in dpkg_options(root)),
            "};",
            "",
        ]
    )


def stanza(fields: Mapping[str, str]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)


def run(
    argv: Sequence[str], env: Mapping[str, str], *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        argv,
        env=dict(env),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if check and result.returncode != 0:
        message = f"{' '.join(argv)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
        raise RuntimeError(message)
    return result
