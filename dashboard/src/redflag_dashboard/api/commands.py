"""Commands: listing, showing, and waiting for one to move."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import host_lookup
from redflag_dashboard.models.commands import (
    Command,
    CommandDetail,
    CommandQuery,
    CommandsMeant,
    CommandsQuery,
)
from redflag_dashboard.models.common import CommandPath, Page
from redflag_dashboard.models.hosts import HostConditions
from redflag_dashboard.parts import Parts
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.command_states import END_STATES
from redflag_store.queries.commands import (
    CommandFilter,
    cancel_of,
    command_state,
    command_timeline,
    get_command,
    list_commands,
)


async def list_(call: Call[Nothing, CommandsQuery, Nothing]) -> Answer:
    """List commands, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        wanted = replace(await filter_of(session, query), pending=query.pending, retry_of=query.retry_of)
        page = await list_commands(session, wanted, after=after, limit=query.limit)
    last = page.rows[-1].command if page.more else None
    return Answer(
        Page[Command](
            items=[Command.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.requested_at, last.id)),
            total=page.total,
        )
    )


async def filter_of(session: AsyncSession, meant: CommandsMeant) -> CommandFilter:
    """The store's filter for what was asked.

    Raises:
        ProblemError: one of `host_lookup.FILTER_PROBLEMS`.
    """
    return CommandFilter(
        agent_id=await host_lookup.host_id(session, meant.host),
        hosts=await host_lookup.filter_of(
            session, HostConditions(group=meant.group, tag=meant.tag, under=meant.under, os=meant.os)
        ),
        state=meant.state,
        kind=meant.kind,
        source=meant.source,
        op=meant.op,
        since=meant.since,
        until=meant.until,
    )


async def show(call: Call[CommandPath, CommandQuery, Nothing]) -> Answer:
    """Show a command, at once or as soon as it has moved."""
    command_id = call.path.command
    if call.query.wait > 0:
        await _wait(call.parts, command_id, call.query.wait, call.query.after_state)
    async with call.parts.sessions() as session:
        row = await get_command(session, command_id)
        if row is None:
            raise _not_found(command_id)
        events = await command_timeline(session, command_id)
        cancel = await cancel_of(session, row.command)
    return Answer(CommandDetail.whole(row, events, cancel))


async def _wait(parts: Parts, command_id: UUID, wait_s: float, after_state: str | None) -> None:
    """Return when the state is another one than `after_state`, is an end, or `wait_s` seconds are over.

    No connection to the database is held while waiting.
    """
    until = parts.clock.monotonic() + wait_s
    async with parts.changes.watch(command_id) as watch:
        while True:
            async with parts.sessions() as session:
                state = await command_state(session, command_id)
            if state is None:
                raise _not_found(command_id)
            if after_state is None:
                after_state = state
            left = until - parts.clock.monotonic()
            if state != after_state or state in END_STATES or left <= 0 or parts.changes.closing:
                return
            await watch.wait(left)


def _not_found(command_id: UUID) -> ProblemError:
    return ProblemError(ProblemCode.COMMAND_NOT_FOUND, f"there is no command {command_id}")


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/commands", "commands_list", "List commands", list_, Page[Command], Nothing, CommandsQuery,
        Nothing, "commands", problems=host_lookup.FILTER_PROBLEMS,
    ),
    Route(
        "GET", "/commands/{command}", "commands_show", "Show a command, or wait for it", show, CommandDetail,
        CommandPath, CommandQuery, Nothing, "commands",
        problems=(ProblemCode.COMMAND_NOT_FOUND, ProblemCode.TOO_MANY_WAITING),
    ),
)  # fmt: skip
