"""Where the operators' commands hang on the `redflag` command.

Nothing of a command is imported before it runs, so `redflag --help` is quick.
"""

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
    "scan": "Look for updates now, on a host or on many.",
    "reboot": "Restart a host, or many.",
    "fast": "Let a host poll fast for a while.",
    "history": "Show what was done, newest first.",
    "doctor": "Look at everything; exit code 1 when something failed.",
}


def register(app: App) -> None:
    """Hang every command on `app`."""
    app.help_epilogue = exit_codes.HELP
    for name, text in _GROUPS.items():
        app.command(f"redflag.cli.{name}:app", name=name, help=text)
    for name, text in _SINGLE.items():
        app.command(f"redflag.cli.{name}:{name}", name=name, help=text, help_epilogue=exit_codes.HELP)
    app.command(
        "redflag.cli.info:version", name="version", help="Show versions and builds, here and at the server."
    )


def names_no_command(arguments: list[str]) -> bool:
    """Tell whether a command line ends before it names a command: it is empty, or a group alone."""
    return not arguments or (len(arguments) == 1 and arguments[0] in _GROUPS)
