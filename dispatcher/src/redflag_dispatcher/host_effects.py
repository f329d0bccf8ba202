"""What reports say about the hosts themselves, written with them: figures, their history, and what people should know.

Guarantees: the newest look of a batch wins for each host; the same minute of a host's history is written once.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher import figure_rules
from redflag_dispatcher.figure_rules import Told
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.report_effects import Effects
from redflag_dispatcher.scan_effects import scan_runs
from redflag_ops.logging import get_logger
from redflag_store.command_states import END_STATES
from redflag_store.queries.host_figures import (
    SYSTEM_FIGURES,
    VOLUME_FIGURES,
    MetricRow,
    StorageLook,
    SystemLook,
    keep_weeks,
    store_metrics,
    store_storages,
    store_systems,
)
from redflag_store.queries.journal import EventRow
from redflag_wire.clock import Clock
from redflag_wire.system_bodies import Storage, System

_log = get_logger()


async def write_host_effects(session: AsyncSession, effects: Effects) -> None:
    """Write the figures of the reports taken, and add to the events of `effects`.

    Args:
        session: in the transaction that stores the reports.
        effects: what the batch changes, commands included; its events are written by the caller.
    """
    looks = Looks(effects.at)
    told: list[tuple[UUID, Told]] = []
    for read in effects.taken:
        agent = read.checked.report.agent
        if read.system is not None:
            looks.system(agent, read.system)
        if read.storage is not None:
            looks.storage(agent, read.storage)
            told += [(agent, one) for one in figure_rules.of_storage(read.storage)]
        if read.inventory is not None:
            problems = figure_rules.of_problems(read.inventory.manager, read.inventory.problems)
            told += [(agent, one) for one in problems]
    told += _failed_scans(effects)
    effects.events.extend(_events(told, effects.at, effects.new_id))
    await store_systems(session, list(looks.systems.values()))
    await store_storages(session, list(looks.storages.values()))
    await store_metrics(session, [looks.metrics[key] for key in sorted(looks.metrics)])


class Looks:
    """The newest look at each host among a batch of reports, and the minutes they stand for.

    Args:
        at: the server's time.
    """

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.systems: dict[UUID, SystemLook] = {}
        self.storages: dict[UUID, StorageLook] = {}
        self.metrics: dict[tuple[UUID, datetime], MetricRow] = {}

    def system(self, agent: UUID, body: System) -> None:
        """Take a look at a host."""
        figures: dict[str, Any] = body.model_dump(mode="json", include=set(SYSTEM_FIGURES))
        self.systems[agent] = SystemLook(agent, body.collected_at, self.at, figures)
        self._add(
            agent,
            body.collected_at,
            load1_milli=body.load1_milli,
            memory_total_bytes=body.memory_total_bytes,
            memory_available_bytes=body.memory_available_bytes,
            swap_total_bytes=body.swap_total_bytes,
            swap_free_bytes=body.swap_free_bytes,
            processes_total=body.processes_total,
        )

    def storage(self, agent: UUID, body: Storage) -> None:
        """Take a look at a host's volumes; of two with one mount the last one counts, as for the kernel."""
        volumes = {
            one.mount: one.model_dump(mode="json", include=set(VOLUME_FIGURES)) for one in body.volumes
        }
        disks = [one.model_dump(mode="json") for one in body.disks]
        self.storages[agent] = StorageLook(
            agent, body.collected_at, self.at, list(volumes.values()), disks, list(body.problems)
        )
        full = figure_rules.fullest(body.volumes)
        if full is not None:
            self._add(agent, body.collected_at, fullest_mount=full.mount, fullest_percent=full.percent)

    def _add(self, agent: UUID, collected: datetime, **figures: Any) -> None:  # noqa: ANN401 - of MetricRow
        at = figure_rules.believable(collected, self.at)
        known = {name: value for name, value in figures.items() if value is not None}
        self.metrics[agent, at] = replace(self.metrics.get((agent, at), MetricRow(agent, at)), **known)


def _failed_scans(effects: Effects) -> list[tuple[UUID, Told]]:
    ended = [
        (effects.commands[one], change)
        for one, change in effects.changes.items()
        if change.state in END_STATES and one in effects.commands
    ]
    found = []
    for command, change in ended:
        for run in scan_runs([(command, change)]):
            told = figure_rules.of_failed_scan(run.name, change.state, change.code, change.error)
            if told is not None:
                found.append((command.agent_id, told))
    return found


def _events(told: Sequence[tuple[UUID, Told]], at: datetime, new_id: Callable[[], UUID]) -> list[EventRow]:
    return [
        EventRow(new_id(), at, one.severity, one.component, one.code, one.message, agent, one.data)
        for agent, one in told
    ]


class FigureUpkeep:
    """Keeps the weeks of the history ready and drops the old ones; ``step`` is one round.

    Args:
        maker: of the database's sessions.
        live: of the operators: `retention.metrics_days`.
        clock: the server's.
    """

    def __init__(self, maker: async_sessionmaker[AsyncSession], live: LiveSettings, *, clock: Clock) -> None:
        self._maker = maker
        self._live = live
        self._clock = clock

    async def step(self) -> bool:
        """Make and drop what is due; harmless beside another dispatcher."""
        days = (await self._live.current()).number("retention.metrics_days")
        now = self._clock.now()
        async with self._maker() as session, session.begin():
            made, dropped = await keep_weeks(
                session, today=now.date(), ended_before=now - timedelta(days=days)
            )
        if made or dropped:
            _log.info("figures.weeks", made=made, dropped=dropped)
        return False
