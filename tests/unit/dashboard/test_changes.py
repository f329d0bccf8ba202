"""Waking those who wait."""

import asyncio
import json
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from redflag_dashboard import changes as module
from redflag_dashboard.changes import Changes, TooManyWaitingError
from redflag_dashboard.metrics import Metrics

ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def changes() -> Changes:
    return Changes(Metrics(CollectorRegistry(), "1"))


def moved(command: UUID) -> str:
    return json.dumps({"kind": "command", "id": str(command)})


async def test_a_notice_wakes_those_who_wait_for_that_command(
    changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 60)
    async with changes.watch(ONE) as first, changes.watch(ONE) as second, changes.watch(OTHER) as other:
        waits = [asyncio.create_task(watch.wait(30)) for watch in (first, second, other)]
        await asyncio.sleep(0)
        changes.notice(moved(ONE))
        async with asyncio.timeout(5):
            await asyncio.gather(*waits[:2])
        assert not waits[2].done()
        changes.look_afresh()
        async with asyncio.timeout(5):
            await waits[2]


async def test_a_notice_between_the_look_and_the_wait_is_not_lost(
    changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 60)
    async with changes.watch(ONE) as watch:
        changes.notice(moved(ONE))
        async with asyncio.timeout(5):
            await watch.wait(30)


async def test_without_a_notice_a_wait_ends_in_time(changes: Changes) -> None:
    async with changes.watch(ONE) as watch, asyncio.timeout(5):
        await watch.wait(0.01)
        await watch.wait(-1)


@pytest.mark.parametrize("payload", ["", "{", "[]", "null", "{}", '{"id":1}', '{"id":"x"}', '{"id":null}'])
async def test_any_other_notice_is_left_alone(changes: Changes, payload: str) -> None:
    changes.notice(payload)


async def test_those_who_wait_are_bounded_and_forgotten_when_they_leave(
    changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    async with changes.watch(ONE):
        with pytest.raises(TooManyWaitingError):
            async with changes.watch(OTHER):
                pass
    async with changes.watch(OTHER):
        pass
    assert changes._waiting == {}
