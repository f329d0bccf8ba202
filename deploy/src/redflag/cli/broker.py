"""`redflag broker check`: compare the running broker with its definition. Nothing is changed."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
from cyclopts import App
from nats.aio.client import Client

from redflag.cli import exit_codes
from redflag.cli.exit_codes import ExitCode
from redflag.cli.find_server import find_data_dir
from redflag.cli.local_parts import find_broker
from redflag.cli.options import COMMON, Common
from redflag.cli.output import Column, Output
from redflag.cli.problems import CliError, ServerUnreachableError, UsageRefusedError
from redflag.cli.run import run_alone
from redflag_broker_config.check import Difference, check
from redflag_broker_config.check_rights import check_rights
from redflag_broker_config.connect import connect
from redflag_broker_config.errors import ApiError, ApiTimeoutError, BrokerUnreachableError, CredentialsError
from redflag_broker_config.permissions import Service

CHECK_DEADLINE_S: Final = 120.0
CONNECT_DEADLINE_S: Final = 5.0
CLOSE_DEADLINE_S: Final = 5.0
MONITOR_DEADLINE_S: Final = 5.0

app = App(name="broker", help="The message broker.", help_epilogue=exit_codes.HELP)

_COLUMNS = (Column("Where", whole=True), Column("Field"), Column("Expected"), Column("Found"))


@app.command(name="check")
def check_broker(*, common: Common = COMMON) -> int:
    """Compare the running broker with its definition; exit code 1 when it differs.

    Streams, consumers, buckets, limits, and what the dispatcher's and the gateway's credentials may do. It reads
    the broker's address and both credentials from the data directory, or from REDFLAG_NATS_URL,
    REDFLAG_DISPATCHER_NATS_SEED_FILE and REDFLAG_GATEWAY_NATS_SEED_FILE.
    """

    async def work(out: Output) -> ExitCode:
        found = await differences(common)
        if out.as_json:
            out.json(
                {
                    "differences": [
                        {"where": one.where, "field": one.field, "expected": one.expected, "found": one.found}
                        for one in found
                    ]
                }
            )
        elif found:
            out.table(
                _COLUMNS, [[one.where, one.field or "-", str(one.expected), str(one.found)] for one in found]
            )
        else:
            out.say("The broker is as defined.", "green")
        if found:
            out.note("A restart of the dispatcher applies the definition.")
        return ExitCode.FAILED if found else ExitCode.DONE

    return run_alone(common, work)


async def differences(common: Common) -> list[Difference]:
    """Return where the broker differs from its definition.

    Raises:
        CliError: it cannot be asked.
    """
    broker = find_broker(find_data_dir(common.data), os.environ)
    found = await _asked(
        broker.url,
        broker.seed_file,
        Service.DISPATCHER,
        lambda client: _everything(client, broker.monitor_url),
    )
    return found + await _asked(
        broker.url,
        broker.gateway_seed_file,
        Service.GATEWAY,
        lambda client: check_rights(client, Service.GATEWAY),
    )


async def _everything(client: Client, monitor_url: str | None) -> list[Difference]:
    found = await check(client, varz=await _varz(monitor_url))
    return found + await check_rights(client, Service.DISPATCHER)


async def _asked(
    url: str, seed_file: Path, service: Service, work: Callable[[Client], Awaitable[list[Difference]]]
) -> list[Difference]:
    """Return what the work finds over a connection with the service's credentials."""
    last: list[str] = []

    async def remember(error: Exception) -> None:
        last[:] = [str(error)]

    try:
        client = await connect(
            url,
            seed_file,
            service,
            "redflag-broker-check",
            on_error=remember,
            deadline_s=CONNECT_DEADLINE_S,
        )
    except CredentialsError as error:
        raise UsageRefusedError(
            str(error), [f"name the seed with REDFLAG_{service.upper()}_NATS_SEED_FILE"]
        ) from None
    except BrokerUnreachableError as error:
        raise ServerUnreachableError(str(error), ["is `redflag up` running? redflag doctor"]) from None
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            return await work(client)
    except (ApiError, ApiTimeoutError, TimeoutError) as error:
        raise UnansweredError(last[0] if last else str(error) or "no answer in time") from None
    finally:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await client.close()


class UnansweredError(CliError):
    """The broker is there and does not answer what it is asked."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, reason: str) -> None:
        super().__init__(f"the broker does not tell: {reason}", ["redflag doctor"])


async def _varz(monitor_url: str | None) -> dict[str, Any] | None:
    if monitor_url is None:
        return None
    try:
        async with asyncio.timeout(MONITOR_DEADLINE_S):
            async with aiohttp.ClientSession() as session, session.get(f"{monitor_url}/varz") as answer:
                found = await answer.json(content_type=None)
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:
        raise ServerUnreachableError(
            f"the broker's monitoring at {monitor_url} cannot be read: {str(error) or 'no answer in time'}",
            ["redflag doctor"],
        ) from None
    return found if isinstance(found, dict) else {}
