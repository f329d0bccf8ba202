import time

from sqlalchemy import text

from redflag_store import listen
from redflag_store.listen import Listener, Notice, Wake
from tests.integration.store.rows import opened

CHANNEL = "redflag_change"


async def notify(url: str, *payloads: str) -> None:
    async with opened(url) as make, make.begin() as session:
        for payload in payloads:
            await session.execute(
                text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
            )


async def test_notices_arrive_in_order_and_at_once(database: str) -> None:
    async with Listener(database, [CHANNEL], poll_s=30) as listener:
        await listener.wait_connected(5)
        assert await listener.wait() == Wake(lost=True)
        await notify(database, "1", "2")
        assert await listener.wait() == Wake((Notice(CHANNEL, "1"), Notice(CHANNEL, "2")))


async def test_quiet_channel_costs_the_interval(database: str) -> None:
    async with Listener(database, [CHANNEL], poll_s=0.2) as listener:
        await listener.wait_connected(5)
        await listener.wait()
        started = time.monotonic()
        assert await listener.wait() == Wake()
        assert 0.15 < time.monotonic() - started < 5


async def test_lost_connection_is_replaced_and_told(database: str) -> None:
    errors: list[Exception] = []
    async with Listener(
        database, [CHANNEL], poll_s=10, on_error=errors.append, jitter=lambda: 0.0
    ) as listener:
        await listener.wait_connected(5)
        await listener.wait()
        async with opened(database) as make, make.begin() as session:
            await session.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE application_name = 'redflag-listen' AND datname = current_database()"
                )
            )
        assert (await listener.wait()).lost
        assert len(errors) == 1
        await listener.wait_connected(5)
        await notify(database, "after")
        assert (await listener.wait()).notices == (Notice(CHANNEL, "after"),)


async def test_unreachable_server_is_reported_and_polling_goes_on() -> None:
    errors: list[Exception] = []
    url = "postgresql://u:p@127.0.0.1:1/none"
    async with Listener(url, [CHANNEL], poll_s=0.2, on_error=errors.append) as listener:
        assert await listener.wait() == Wake()
        assert not listener.connected
    assert errors


async def test_flood_is_bounded_and_told(database: str) -> None:
    async with Listener(database, [CHANNEL], poll_s=10) as listener:
        await listener.wait_connected(5)
        await listener.wait()
        for number in range(listen.MAX_NOTICES + 5):
            listener._take(None, 0, CHANNEL, str(number))
        wake = await listener.wait()
    assert wake.lost
    assert len(wake.notices) == listen.MAX_NOTICES
    assert wake.notices[0].payload == "5"
