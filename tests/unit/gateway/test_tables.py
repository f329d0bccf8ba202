"""The gateway's bounded tables: pending agents, parked polls, confirmations, batches, shut-out agents."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_broker_config.subjects import shard_of, status_key
from redflag_gateway.confirmed import Confirmed
from redflag_gateway.hearing import parse_done, parse_wake
from redflag_gateway.outgoing import BATCH_MAX, Delivered, DeliveredLog, Presence
from redflag_gateway.parked import ParkedPolls, Woken
from redflag_gateway.pending import Need, PendingSet
from redflag_gateway.status import UNREADABLE, ShutOut

AGENT = UUID("0199c0de-0000-7000-8000-000000000001")
OTHER = UUID("0199c0de-0000-7000-8000-000000000002")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_unknown_agent_is_in_doubt() -> None:
    assert PendingSet().need(AGENT, 0.0) is Need.CHECK


def test_agent_with_nothing_needs_nothing_until_woken() -> None:
    pending = PendingSet()
    assert pending.settle(AGENT, pending.doubt(AGENT, 1.0))
    assert pending.need(AGENT, 2.0) is Need.NOTHING
    assert pending.wake(AGENT, 3.0)
    assert pending.need(AGENT, 3.0) is Need.PULL


def test_wake_up_during_the_question_is_not_lost() -> None:
    pending = PendingSet()
    version = pending.doubt(AGENT, 1.0)
    assert pending.wake(AGENT, 1.1)
    assert not pending.settle(AGENT, version)
    pending.postpone(AGENT, version, 50.0)
    assert pending.need(AGENT, 1.2) is Need.PULL


def test_failed_question_leaves_the_agent_to_be_pulled() -> None:
    pending = PendingSet()
    pending.doubt(AGENT, 1.0)
    assert pending.need(AGENT, 1.0) is Need.PULL


def test_postponed_agent_is_due_later() -> None:
    pending = PendingSet()
    pending.postpone(AGENT, pending.doubt(AGENT, 1.0), 31.0)
    assert pending.need(AGENT, 30.9) is Need.NOTHING
    assert pending.due_at(AGENT) == 31.0
    assert pending.need(AGENT, 31.0) is Need.PULL


def test_wake_up_of_an_agent_that_never_polled_here_is_left_out() -> None:
    pending = PendingSet()
    assert not pending.wake(AGENT, 1.0)
    assert len(pending) == 0
    assert pending.need(AGENT, 1.0) is Need.CHECK


def test_lost_connection_puts_everything_in_doubt() -> None:
    pending = PendingSet()
    version = pending.doubt(AGENT, 1.0)
    pending.settle(OTHER, pending.doubt(OTHER, 1.0))
    pending.doubt_all()
    assert pending.need(AGENT, 1.0) is Need.CHECK
    assert pending.need(OTHER, 1.0) is Need.CHECK
    assert not pending.settle(AGENT, version)  # an answer from before the loss proves nothing
    assert pending.need(AGENT, 1.0) is Need.CHECK


def test_pending_tables_are_bounded_and_what_falls_out_is_in_doubt() -> None:
    pending = PendingSet(checked_max=1000, pending_max=10)
    agents = [uuid4() for _ in range(50)]
    for agent in agents:
        pending.doubt(agent, 1.0)
    assert len(pending) == 10
    assert pending.need(agents[0], 1.0) is Need.CHECK
    small = PendingSet(checked_max=10)
    for agent in agents:
        small.settle(agent, small.doubt(agent, 1.0))
    assert sum(small.need(agent, 1.0) is Need.NOTHING for agent in agents) <= 10


@given(st.lists(st.sampled_from(["doubt", "wake", "settle", "settle late", "lose"]), max_size=30))
def test_no_order_of_events_hides_a_wake_up(events: list[str]) -> None:
    pending = PendingSet()
    waiting, version, known = False, 0, False
    for event in events:
        if event == "doubt":
            version, known = pending.doubt(AGENT, 1.0), True
        elif event == "wake":
            waiting = pending.wake(AGENT, 1.0) or waiting
        elif event == "settle" and known:
            version = pending.version(AGENT)
            if pending.settle(AGENT, version):
                waiting = False  # the broker was asked after the wake-up
        elif event == "settle late" and known:
            before = pending.version(AGENT)
            if pending.settle(AGENT, version) and version == before:
                waiting = False
        elif event == "lose":
            pending.doubt_all()
        if waiting:
            assert pending.need(AGENT, 1.0) is not Need.NOTHING


async def test_parked_poll_is_woken() -> None:
    parked = ParkedPolls()
    place = parked.admit(AGENT)
    waiting = asyncio.create_task(parked.wait(place, 60))
    await asyncio.sleep(0)
    assert parked.wake(AGENT)
    assert not parked.wake(OTHER)
    assert await waiting is Woken.WAKE
    parked.leave(AGENT, place)
    assert len(parked) == 0


async def test_wake_up_between_two_waits_is_kept() -> None:
    parked = ParkedPolls()
    place = parked.admit(AGENT)
    parked.wake(AGENT)
    assert await parked.wait(place, 60) is Woken.WAKE
    fresh = parked.renew(AGENT, place)
    assert fresh is not place
    assert await parked.wait(fresh, 0) is Woken.TIME


async def test_newer_poll_replaces_the_older_and_keeps_its_own_place() -> None:
    parked = ParkedPolls()
    older = parked.admit(AGENT)
    newer = parked.admit(AGENT)
    assert await parked.wait(older, 60) is Woken.REPLACED
    assert parked.renew(AGENT, older) is older
    parked.leave(AGENT, older)
    assert parked.wake(AGENT)
    assert await parked.wait(newer, 60) is Woken.WAKE


async def test_stop_ends_polls_of_now_and_later() -> None:
    parked = ParkedPolls()
    place = parked.admit(AGENT)
    parked.stop()
    assert await parked.wait(place, 60) is Woken.STOP
    assert await parked.wait(parked.admit(OTHER), 60) is Woken.STOP


async def test_crowd_is_noticed() -> None:
    parked = ParkedPolls(limit=1)
    parked.admit(AGENT)
    assert not parked.crowded()
    parked.admit(OTHER)
    assert parked.crowded()
    assert set(parked.agents()) == {AGENT, OTHER}


def test_last_confirmation_counts_and_the_table_is_bounded() -> None:
    confirmed = Confirmed(limit=2)
    confirmed.note(AGENT, 9)
    confirmed.note(AGENT, 1)
    assert confirmed.get(AGENT) == 1
    confirmed.note(OTHER, 1)
    confirmed.note(uuid4(), 1)
    assert confirmed.get(AGENT) is None
    assert len(confirmed) == 2


def test_shut_out_until_deleted() -> None:
    shut_out = ShutOut()
    shut_out.note(status_key(AGENT), b"revoked")
    assert shut_out.word(AGENT) == "revoked"
    assert shut_out.word(OTHER) is None
    shut_out.note(status_key(AGENT), None)
    assert shut_out.word(AGENT) is None


@pytest.mark.parametrize("value", [b"", b"\xff", b"two words", b"x" * 65, b'{"a":1}'])
def test_unreadable_status_shuts_out_all_the_same(value: bytes) -> None:
    shut_out = ShutOut()
    shut_out.note(status_key(AGENT), value)
    assert shut_out.word(AGENT) == UNREADABLE


def test_status_of_no_agent_is_ignored() -> None:
    shut_out = ShutOut()
    shut_out.note("nobody", b"revoked")
    assert len(shut_out) == 0


def test_deliveries_are_batched_by_shard_and_bounded() -> None:
    log = DeliveredLog(limit=3)
    for number in range(5):
        log.add(Delivered(AGENT, "c", number, NOW))
    assert (len(log), log.dropped) == (3, 2)
    taken = log.take()
    assert [entry.number for entry in taken[shard_of(AGENT)]] == [2, 3, 4]
    assert len(log) == 0
    log.put_back(taken[shard_of(AGENT)])
    assert len(log) == 3


def test_presence_tells_the_newest_time_once_in_bounded_messages() -> None:
    presence = Presence()
    presence.note(AGENT, NOW)
    presence.note(AGENT, NOW.replace(second=5))
    assert presence.take() == [(shard_of(AGENT), {AGENT.hex: int(NOW.timestamp()) + 5})]
    assert presence.take() == []
    for number in range(2 * BATCH_MAX * 16):
        presence.note(UUID(int=number), NOW)
    batches = presence.take()
    assert max(len(batch) for _shard, batch in batches) <= BATCH_MAX
    assert sum(len(batch) for _shard, batch in batches) == 2 * BATCH_MAX * 16
    small = Presence(limit=1)
    small.note(AGENT, NOW)
    small.note(OTHER, NOW)
    assert len(small) == 1


def test_wake_ups_and_confirmations_are_read() -> None:
    assert parse_wake(json.dumps([AGENT.hex]).encode()) == [AGENT]
    assert parse_done(json.dumps({AGENT.hex: 5}).encode()) == {AGENT: 5}


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[1]", b'["x"]', b"\xff", b"null"])
def test_wake_up_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_wake(data)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"x":1}', b'{"0199c0de000070008000000000000001":-1}', b'{"a":true}']
)
def test_confirmation_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_done(data)
