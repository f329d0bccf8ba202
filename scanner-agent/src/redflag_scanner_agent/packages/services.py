"""Which services of this machine still run code of before an installation, where needrestart is there to tell.

It only lists (`-r l`): nothing is restarted. Without needrestart the answer is empty: looking at the memory maps of
every process by ourselves would tell processes, and not the services an administrator can restart.
"""

import os
from collections.abc import Sequence

from redflag_scanner_agent.figures.needrestart import ARGUMENTS, PROGRAM, parse
from redflag_scanner_agent.packages.errors import OutputRefusedError
from redflag_scanner_agent.packages.process import run_parsed

TIMEOUT_S = 60.0  # it reads the memory maps of every process
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NEEDRESTART_MODE": "l"}


async def services_to_restart(programs: Sequence[str] = PROGRAM) -> list[str]:
    """The services' names; none where needrestart is not installed.

    Args:
        programs: the places where it may be.

    Raises:
        PackageManagerError: it is there and gives no answer.
    """
    program = next((one for one in programs if os.access(one, os.X_OK)), None)
    if program is None:
        return []
    finished = await run_parsed([program, *ARGUMENTS], env=_ENVIRONMENT, timeout_s=TIMEOUT_S)
    answer = parse(finished.stdout)
    if answer is None:
        raise OutputRefusedError(
            f"{program} ended with {finished.exit_code} and no answer: {finished.stderr.strip()}"
        )
    return answer.services
