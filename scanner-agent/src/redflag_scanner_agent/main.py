"""The `redflag-agent` command: enroll, run, scan, list-updates, status.

Errors are one line on standard error and an exit code of `errors`; results go to standard output.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import configure
from redflag_ops.runner import run as run_program
from redflag_ops.settings import load_settings, read_secret
from redflag_ops.tasks import LoopEndedError
from redflag_scanner_agent import agent, local_view
from redflag_scanner_agent.connection import Connection, open_session
from redflag_scanner_agent.enrol import enrol, parse_token
from redflag_scanner_agent.errors import (
    EXIT_CODES,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PACKAGES,
    EXIT_PIPE_CLOSED,
    EXIT_USAGE,
    AgentError,
    EnrolmentRefusedError,
    ServerUnreachableError,
)
from redflag_scanner_agent.facts import agent_version, machine_id
from redflag_scanner_agent.helper_process import HELPER
from redflag_scanner_agent.host_clock import HostClock
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.renewal import Access
from redflag_scanner_agent.settings import LOG_LEVELS, AgentSettings, parse_origin

PROGRAM = "agent"
HELLO_DEADLINE_S = 15.0  # `enroll` is for a person who waits, not for an agent that is at work already


class _Parser(argparse.ArgumentParser):
    """A parser whose errors begin as every other error of the program does."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        _say(message)
        sys.exit(EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="redflag-agent", description="RedFlag's agent for this host.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"redflag-agent {agent_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enroll = commands.add_parser("enroll", help="join an installation with an enrolment token")
    _where(enroll)
    enroll.add_argument(
        "--ca-text", help="such an authority itself, as the install line has it; kept by the agent"
    )
    token = enroll.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, help="file with the token (or REDFLAG_AGENT_TOKEN_FILE)")
    token.add_argument(
        "--token", help="the token itself; other users of this host can see it while this runs"
    )
    _where(
        commands.add_parser(
            "run", help="run the agent (joins first if there is a token file and no identity)"
        )
    )
    for name, what in (
        ("scan", "fetch fresh package lists where allowed, and show what could be updated"),
        ("list-updates", "show what could be updated by the package lists at hand"),
        ("status", "show what this host's agent knows of itself"),
    ):
        one = commands.add_parser(name, help=what)
        one.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", help="the gateway's address (or REDFLAG_AGENT_SERVER); http is for this very host only"
    )
    parser.add_argument(
        "--ca",
        type=Path,
        help="file of the authorities to trust instead of the system's (or REDFLAG_AGENT_CA)",
    )


def _say(message: str) -> None:
    sys.stderr.write(f"redflag-agent: {message}\n")


def main(argv: Sequence[str] | None = None, helper_command: Sequence[str] = HELPER) -> int:
    """Run a command; return the process's exit code."""
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options)
        if options.command != "run":
            settings = settings.for_people()
        configure(PROGRAM, settings.log_format, level=LOG_LEVELS[settings.log_level])
        if options.command == "run":
            return _run(settings, helper_command)
        if options.command == "enroll":
            return asyncio.run(_enroll(settings, options, helper_command))
        if options.command == "status":
            found = local_view.status(settings)
            print(json.dumps(found, indent=2) if options.format == "json" else local_view.status_text(found))
            return EXIT_OK
        inventories = asyncio.run(local_view.inventories(settings, refresh=options.command == "scan"))
        as_json = options.format == "json"
        print(local_view.updates_json(inventories) if as_json else local_view.updates_text(inventories))
    except ConfigurationError as error:
        _say(str(error))
        return EXIT_USAGE
    except PackageManagerError as error:
        _say(f"{error.detail} ({error.code})")
        return EXIT_PACKAGES
    except AgentError as error:
        _say(f"{error.detail} ({error.code})")
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_OK


def _settings(options: argparse.Namespace) -> AgentSettings:
    server = getattr(options, "server", None)
    if server is not None:
        try:
            parse_origin(server)
        except ValueError as error:
            raise ConfigurationError(f"--server: {error}") from None
        os.environ["REDFLAG_AGENT_SERVER"] = server
    if getattr(options, "ca", None) is not None:
        os.environ["REDFLAG_AGENT_CA"] = str(options.ca)
    if getattr(options, "token_file", None) is not None:
        os.environ["REDFLAG_AGENT_TOKEN_FILE"] = str(options.token_file)
    return load_settings(AgentSettings)


def _run(settings: AgentSettings, helper_command: Sequence[str]) -> int:
    ended = EXIT_OK

    async def body(stop: asyncio.Event) -> None:
        nonlocal ended
        try:
            await agent.run(settings, stop, helper_command)
        except ConfigurationError as error:
            _say(str(error))
            ended = EXIT_USAGE
        except AgentError as error:
            _say(f"{error.detail} ({error.code})")
            ended = error.exit_code
        except LoopEndedError as error:
            _say(str(error))
            ended = EXIT_FAILED

    return run_program(PROGRAM, body) or ended


async def _enroll(settings: AgentSettings, options: argparse.Namespace, helper_command: Sequence[str]) -> int:
    if settings.server is None:
        raise ConfigurationError("enroll needs --server URL (or REDFLAG_AGENT_SERVER)")
    server = settings.server
    if options.token is not None:
        token = parse_token(options.token)
    elif settings.token_file is not None:
        token = parse_token(read_secret(settings.token_file, "the token file"))
    else:
        raise ConfigurationError("enroll needs --token-file FILE or --token TOKEN")
    async with (
        agent.start(settings, token, helper_command, options.ca_text) as parts,
        open_session() as session,
    ):
        known = parts.store.load()
        if known is not None:
            raise EnrolmentRefusedError(
                "enrolled_already", f"this host is enrolled already as {known.agent} at {known.server}"
            )
        clock = HostClock()
        connection = Connection(session, server, parts.key, clock, trust=parts.trust, contact=parts.contact)
        identity = await enrol(
            connection=connection,
            helper=parts.client,
            store=parts.store,
            key=parts.key,
            server=server,
            token=token,
            hello_deadline_s=HELLO_DEADLINE_S,
        )
        try:
            access = Access(connection, parts.store, identity, machine_id(), clock)
            await access.confirm()
        except ServerUnreachableError as error:
            _say(f"enrolled; the confirmation follows with the first run ({error.detail})")
    print(f"enrolled as {identity.agent}")
    return EXIT_OK
