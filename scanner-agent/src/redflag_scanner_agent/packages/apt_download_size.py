"""How much an installation would fetch, from `apt-get --print-uris`: one line for each file that is not there yet.

    'http://deb.debian.org/debian/pool/main/s/sed/sed_4.9-1_amd64.deb' sed_4.9-1_amd64.deb 328964 SHA256:...

That form is made for programs; the `Need to get 329 kB` that people see is not.
"""

import re

from redflag_scanner_agent.packages.apt_install import arguments, cached_files
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_wire.limits import INTEGER_LIMIT
from redflag_wire.report_bodies import Plan

# Twice that nothing is installed; and without -y apt-get would ask first, with nobody there to say yes.
PRINT_ONLY = ("--print-uris", "--download-only")
_LINE = re.compile(r"'([a-z0-9+.-]+):[^']*' \S+ ([0-9]{1,15})(?: \S*)?", re.ASCII)
_LOCAL = "file"  # apt uses such a file where it lies


async def download_bytes(runner: AptRunner, plan: Plan) -> int | None:
    """Bytes apt-get would fetch to carry out a plan; None when it cannot be told. Changes nothing."""
    if not plan.items:
        return 0
    try:
        finished = await runner.get(*PRINT_ONLY, *arguments(plan, await cached_files(runner, plan)))
    except PackageManagerError:
        return None
    return parse(finished.stdout) if finished.exit_code == 0 else None


def parse(text: str) -> int | None:
    """The sum of the sizes; None for more than the wire takes."""
    found = [match.groups() for match in map(_LINE.fullmatch, text.splitlines()) if match is not None]
    total = sum(int(size) for method, size in found if method != _LOCAL)
    return total if total < INTEGER_LIMIT else None
