"""Where the operators' commands hang on the `redflag` command.

Nothing of a command is imported before it runs, so `redflag --help` is quick.
"""

from collections.abc import Sequence

from cyclopts import App

from redflag.cli import exit_codes

_GROUPS = {
    "hosts": "Hosts and their state.",
    "updates": "Updates, from pending to installed.",
    "commands": "Commands to hosts: timeline and result.",
    "jobs": "The same for many hosts at once.",
    "subsystems": "What of a host is looked at, and how often.",
    "settings": "Limits, timeouts, retention.",
    "groups": "Hosts put together by hand.",
    "tokens": "Tokens that let hosts in.",
    "events": "Refusals, failures, things to look at.",
    "export": "Everything that matches, as CSV or JSON.",
    "broker": "The message broker.",
}
_SINGLE = {
    "scan": ("scan", "Look for updates now, on a host or on many."),
    "reboot": ("reboot", "Restart a host, or many."),
    "fast": ("fast", "Let a host poll fast for a while."),
    "history": ("history", "Show what was done, newest first."),
    "doctor": ("doctor", "Look at everything; exit code 1 when something failed."),
    "version": ("info", "Show versions and builds, here and at the server."),
}
"""Command -> its module, and what the list of commands says of it."""


def register(app: App, arguments: Sequence[str] = ()) -> None:
    """Hang every command on `app`.

    Args:
        app: the whole command line.
        arguments: it is about to read. The command they name is left to its own docstring: a text given here would
            take the place of all of it in `redflag NAME --help`.
    """
    app.help_epilogue = exit_codes.HELP
    for name, text in _GROUPS.items():
        app.command(f"redflag.cli.{name}:app", name=name, help=text)
    for name, (module, text) in _SINGLE.items():
        short = None if name in arguments[:1] else text
        app.command(f"redflag.cli.{module}:{name}", name=name, help=short, help_epilogue=exit_codes.HELP)


def names_no_command(arguments: list[str]) -> bool:
    """Tell whether a command line ends before it names a command: it is empty, or a group alone."""
    return not arguments or (len(arguments) == 1 and arguments[0] in _GROUPS)
