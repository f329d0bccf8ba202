"""The `redflag` command: `up`, and the operator's command line beside it.

What a command needs is imported when it runs: `redflag up` does not load the command line, nor the other way
round.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from redflag.up.data_dir import default_data_dir
from redflag.up.options import Options, ServingOptions
from redflag.up.reporter import LogFormat

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
STACK_SETTING = "REDFLAG_DEBUG"

app = App(
    name="redflag",
    help="Keeps the software on a fleet of hosts up to date.",
    version="0.1.0",
)


@app.command
def up(
    *,
    data: Annotated[Path | None, Parameter(show_default=False)] = None,
    agent: bool = True,
    ready_file: Path | None = None,
    log_format: LogFormat = LogFormat.CONSOLE,
    api_port: int | None = None,
    gateway_port: int | None = None,
    listen: str | None = None,
    api_listen: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_ca: Path | None = None,
    public_url: str | None = None,
    behind_proxy: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run all of RedFlag on this machine until Ctrl-C.

    PostgreSQL and NATS are started too, unless REDFLAG_DATABASE_URL or REDFLAG_NATS_URL name others.

    Everything listens on this machine alone until --listen says otherwise. --listen and the options below it are
    kept for later starts; giving any of them replaces all that were kept.

    Parameters
    ----------
    data
        Directory for everything that is kept. Default: /var/lib/redflag for root, else
        $XDG_DATA_HOME/redflag or ~/.local/share/redflag.
    agent
        Also run an agent for this host; it can install updates only when started as root.
    ready_file
        File written when everything is healthy and removed at the stop: JSON with addresses and process ids.
    log_format
        console: progress and problems. json: every record of every program, one a line.
    api_port
        Port of the API; kept for later starts. 7481 if never given, 0 takes a free one.
    gateway_port
        Port for agents; kept for later starts. 7480 if never given, 0 takes a free one.
    listen
        ADDRESS[:PORT] where agents of other hosts get in, for example 0.0.0.0; needs TLS.
    api_listen
        ADDRESS[:PORT] where the API is reached from elsewhere; needs TLS. Without it: this machine alone.
    tls_cert
        File with the certificate and the chain above it (PEM). It may be replaced while RedFlag runs.
    tls_key
        File with its key, without a password (PEM).
    tls_ca
        File with the authority that signed it (PEM), where hosts do not know it anyway.
    public_url
        The address that hosts write: https://NAME[:PORT]. Default: the first name of the certificate.
    behind_proxy
        A proxy in front ends TLS, and nobody else reaches the addresses listened on; needs --public-url.
    """
    from redflag.up.run import run_up  # noqa: PLC0415 - see the module's docstring

    return run_up(
        Options(
            data=default_data_dir() if data is None else data,
            agent=agent,
            ready_file=ready_file,
            log_format=log_format,
            api_port=api_port,
            gateway_port=gateway_port,
            serving=ServingOptions(
                listen=listen,
                api_listen=api_listen,
                tls_cert=_absolute(tls_cert),
                tls_key=_absolute(tls_key),
                tls_ca=_absolute(tls_ca),
                public_url=public_url,
                behind_proxy=behind_proxy,
            ),
        )
    )


def _absolute(path: Path | None) -> Path | None:
    # Kept for later starts, which may be made from another directory.
    return None if path is None else path.absolute()


def main() -> None:
    """Run the command line; the process ends with the command's exit code."""
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        # Before a command could say how it wants to be stopped, there is nothing to stop.
        code = EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence: a person gets a line, not a stack
        if os.environ.get(STACK_SETTING):
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        sys.stderr.write(
            f"redflag: this should not happen: {type(error).__name__}: {reason} "
            f"({STACK_SETTING}=1 shows where)\n"
        )
        code = EXIT_FAILED
    sys.exit(code)


def _run(arguments: list[str]) -> int | None:
    if arguments[:1] != ["up"]:
        from redflag.cli.app import names_no_command, register  # noqa: PLC0415 - see the module's docstring

        register(app, arguments)
        if names_no_command(arguments):
            app.help_print(arguments, console=app.error_console)
            return EXIT_USAGE
    return app()  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
