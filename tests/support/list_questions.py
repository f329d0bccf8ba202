"""The lists, filters and counts that operators see, each as the one call of the store that answers it."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.queries.commands import CommandFilter, list_commands
from redflag_store.queries.events import EventFilter, list_events
from redflag_store.queries.history import list_history
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.hosts import fleet_figures, list_hosts
from redflag_store.queries.package_history import list_update_events, list_versions
from redflag_store.queries.plans import list_plans
from redflag_store.queries.updates import UpdateFilter, count_updates, list_updates
from redflag_store.states import Severity
from redflag_wire.clock import SystemClock

Work = Callable[[AsyncSession], Awaitable[object]]
HOST = UUID(hashlib.md5(b"h7", usedforsecurity=False).hexdigest())
"""A host that both the test's and the bench's seed have."""
MIDDLE = ("package-0050", "apt", "amd64", HOST)


def updates(after: tuple[str, str, str, UUID] | None = None, **wanted: Any) -> Work:
    return lambda session: list_updates(session, UpdateFilter(**wanted), after=after, limit=50)


def counts(**wanted: Any) -> Work:
    return lambda session: count_updates(session, UpdateFilter(**wanted))


def commands(**wanted: Any) -> Work:
    return lambda session: list_commands(session, CommandFilter(**wanted), after=None, limit=50)


def history(**wanted: Any) -> Work:
    return lambda session: list_history(session, CommandFilter(**wanted), after=None, limit=50)


def events(**wanted: Any) -> Work:
    return lambda session: list_events(session, EventFilter(**wanted), after=None, limit=50)


def of_host(read: Any, package: str | None) -> Work:
    return lambda session: read(session, HOST, package=package, manager=None, after=None, limit=50)


QUESTIONS: dict[str, Work] = {
    "updates": updates(),
    "updates, a middle page": updates(MIDDLE),
    "updates, security": updates(security=True),
    "updates, failed": updates(state="failed"),
    "updates, failed, a middle page": updates(MIDDLE, state="failed"),
    "updates, updated": updates(state="updated"),
    "updates, critical": updates(severity="critical"),
    "updates, by text": updates(name="-005"),
    "updates, one package": updates(package="package-0050"),
    "updates, of a host": updates(agent_id=HOST),
    "updates, held": updates(availability="held"),
    "counts": counts(),
    "counts, by text": counts(name="-005"),
    "counts, of a host": counts(agent_id=HOST),
    "commands": commands(),
    "commands, of a host": commands(agent_id=HOST),
    "commands, pending": commands(pending=True),
    "commands, running": commands(state="running"),
    "history": history(),
    "history, of a host": history(agent_id=HOST),
    "events": events(),
    "events, errors": events(at_least=Severity.ERROR),
    "events, of a host": events(agent_id=HOST),
    "versions, of a host": of_host(list_versions, None),
    "versions, of a package": of_host(list_versions, "package-7"),
    "what happened, of a host": of_host(list_update_events, None),
    "plans": lambda session: list_plans(session, agent_id=None, after=None, limit=50),
    "hosts": lambda session: list_hosts(session, HostFilter(), after=None, limit=50),
    "figures": lambda session: fleet_figures(session, SystemClock().now()),
}
