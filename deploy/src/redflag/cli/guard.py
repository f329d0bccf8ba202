"""The one place where a command's errors become what its user sees: a line, what to do, and the exit code.

No traceback ever reaches a user. What nobody foresaw is one line too; with REDFLAG_DEBUG=1 its stack follows.
"""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec

from redflag.cli.errors import CliError
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Common
from redflag.cli.output import is_json, print_json
from redflag.cli.terminal import line

P = ParamSpec("P")
INTERRUPTED = 130  # what shells expect after Ctrl-C


def guarded(command: Callable[P, int]) -> Callable[P, int]:
    """Wrap a command so that it always returns an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a character shows its number.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        try:
            code = command(*args, **kwargs)
            sys.stdout.flush()
        except CliError as error:
            return _tell(error, wants_json=_wants_json(args, kwargs))
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted; what was asked for goes on\n")
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read has enough; a second error at exit would be noise.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the end
            return ExitCode.OK
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback to a user
            sys.stderr.write(f"redflag: unforeseen {type(error).__name__}: {line(error)[:400]}\n")
            sys.stderr.write("  please report this; REDFLAG_DEBUG=1 shows where it happened\n")
            if os.environ.get("REDFLAG_DEBUG"):
                sys.stderr.write(traceback.format_exc())
            return ExitCode.FAILED
        return code

    return run


def _wants_json(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    given = [one for one in (*args, *kwargs.values()) if isinstance(one, Common)]
    return bool(given) and is_json(given[0].format)


def _tell(error: CliError, *, wants_json: bool) -> int:
    sys.stderr.write(f"redflag: {line(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"  {line(error.hint)}\n")
    if wants_json:
        print_json(
            {
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "hint": error.hint,
                    "exit_code": int(error.exit_code),
                    **error.data,
                }
            }
        )
    return error.exit_code
