"""The one way a route asks for a command: a signed intent and the command in the route's transaction."""

import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from redflag_dashboard.agent_versions import agent_too_old
from redflag_dashboard.intents import IntentTooLargeError, sign_intent
from redflag_dashboard.models.commands import Command
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, Call
from redflag_store import dedupe_keys
from redflag_store.queries.commands import get_command
from redflag_store.queries.commands_create import request_commands
from redflag_store.queries.intents import IntentData, store_intent
from redflag_store.queries.refusals import (
    AgentNotActiveError,
    AlreadyPendingError,
    AlreadyRetriedError,
    CommandRefusedError,
    DepthError,
    RateLimitedError,
    TooManyPendingError,
)
from redflag_store.queries.settings import read_settings
from redflag_store.tables import Agent
from redflag_wire.command_params import CommandKind, CommandParams
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.intent import IntentVerb

PROBLEMS = (
    ProblemCode.HOST_NOT_ACTIVE,
    ProblemCode.ALREADY_PENDING,
    ProblemCode.TOO_MANY_PENDING,
    ProblemCode.TOO_MANY_PACKAGES,
    ProblemCode.AGENT_TOO_OLD,
    ProblemCode.RATE_LIMITED,
)
"""What a route that asks for a command may answer with."""

AnyCall = Call[Any, Any, Any]


def intent_of(call: AnyCall, verb: IntentVerb, targets: list[UUID], params: Mapping[str, Any]) -> IntentData:
    """Sign what the caller wants.

    Raises:
        ProblemError: `too_many_packages`, `invalid_request`.
    """
    if call.who is None:
        raise RuntimeError("an open route changes nothing")
    try:
        return sign_intent(
            call.parts,
            operator=call.who.name,
            key_id=call.who.key_id,
            op=call.op,
            verb=verb,
            targets=targets,
            params=params,
        )
    except IntentTooLargeError as error:
        raise ProblemError(ProblemCode.TOO_MANY_PACKAGES, f"{error}; name fewer packages at once") from None
    except SchemaRefusedError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"{error.code}: {error.detail}") from None


async def store(call: AnyCall, intent: IntentData) -> None:
    """Store an intent that leads to no command."""
    await store_intent(call.tx, call.parts.clock, intent)


async def ask(
    call: AnyCall,
    *,
    agent: UUID,
    verb: IntentVerb,
    kind: CommandKind,
    params: CommandParams,
    dedupe_key: str | None = None,
) -> UUID:
    """Ask for one command.

    Args:
        call: the request; its transaction takes the rows.
        agent: for which host.
        verb: of the intent.
        kind: of the command.
        params: of both.
        dedupe_key: at most one pending command of this key per host; that of the kind if not given.

    Returns:
        The command's id.

    Raises:
        ProblemError: one of `PROBLEMS`.
    """
    await _refuse_too_old(call, agent, kind)
    values = params.model_dump(mode="json")
    intent = intent_of(call, verb, [agent], values)
    try:
        (command_id,) = await request_commands(
            call.tx,
            call.parts.clock,
            intent=intent,
            agents=[agent],
            kind=kind.value,
            params=values,
            requested_by=call.operator,
            op=call.op,
            dedupe_key=dedupe_key or dedupe_keys.dedupe_key(kind, values),
            retry_of=call.retry_of,
            random=call.parts.random,
        )
    except CommandRefusedError as error:
        raise await problem_of(call, error) from None
    return command_id


async def _refuse_too_old(call: AnyCall, agent: UUID, kind: CommandKind) -> None:
    minimum = (await read_settings(call.tx)).version("agents.minimum_version")
    host = None if minimum is None else await call.tx.get(Agent, agent)
    if host is not None and agent_too_old(host.agent_version, minimum, kind):
        raise ProblemError(
            ProblemCode.AGENT_TOO_OLD,
            f"{host.hostname} runs agent {host.agent_version or 'of an unknown version'}; "
            f"{minimum} is the oldest that is asked for anything but its own update",
            extra={"agent_version": host.agent_version, "minimum_version": minimum},
        )


async def problem_of(call: AnyCall, error: CommandRefusedError) -> ProblemError:
    """What to answer when the store refused a command."""
    if isinstance(error, AlreadyPendingError):
        return await in_the_way(
            call,
            ProblemCode.ALREADY_PENDING,
            f"command {error.command_id} does this already; follow that one",
            error.command_id,
        )
    if isinstance(error, AgentNotActiveError):
        return ProblemError(
            ProblemCode.HOST_NOT_ACTIVE,
            f"the host is {error.state or 'gone'}; only active hosts take commands",
        )
    if isinstance(error, TooManyPendingError):
        return ProblemError(
            ProblemCode.TOO_MANY_PENDING, f"{error.limit} commands of this host wait for their end already"
        )
    if isinstance(error, RateLimitedError):
        wait_s = max(1, math.ceil(error.retry_after_s))
        return ProblemError(
            ProblemCode.RATE_LIMITED,
            f"the host was asked for as much as its limit allows; it takes the next command in {wait_s} s",
            extra={"retry_after_s": wait_s},
            headers={"Retry-After": str(wait_s)},
        )
    if isinstance(error, AlreadyRetriedError):
        return await in_the_way(
            call,
            ProblemCode.ALREADY_RETRIED,
            f"command {error.by} is its retry already; retry that one when it has ended",
            error.by,
        )
    if isinstance(error, DepthError):
        return await in_the_way(
            call,
            ProblemCode.RETRY_TOO_DEEP,
            f"{error.limit} retries in a row lead here; find out what is wrong, then ask anew",
            error.command_id,
        )
    raise error


async def in_the_way(call: AnyCall, code: ProblemCode, detail: str, command_id: UUID) -> ProblemError:
    """A problem that names the command in the way, and where to follow it."""
    existing = await get_command(call.tx, command_id)
    return ProblemError(
        code,
        detail,
        extra={"existing": {} if existing is None else Command.of(existing).model_dump(mode="json")},
        headers={"Location": location_of(command_id)},
    )


def location_of(command_id: UUID) -> str:
    """Where to follow a command."""
    return f"{PREFIX}/commands/{command_id}"


async def accepted(call: AnyCall, command_id: UUID) -> Answer:
    """The answer 202 with the command just asked for."""
    row = await get_command(call.tx, command_id)
    if row is None:
        raise RuntimeError("the command just created is not there")
    return Answer(Command.of(row), status=202, headers={"Location": location_of(command_id)})
