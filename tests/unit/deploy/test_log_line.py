import json

import pytest

from redflag.up.log_line import parse_line

RECORD = {
    "ts": "2026-01-01T00:00:00Z",
    "level": "warning",
    "program": "gateway",
    "event": "poll.shed",
    "agent": "a1",
}


def test_json_record_keeps_its_level_and_bytes() -> None:
    line = parse_line("gateway", json.dumps(RECORD))
    assert line.at_least("warning")
    assert not line.at_least("error")
    assert line.readable() == "poll.shed agent=a1"
    assert line.as_json("now") == json.dumps(RECORD)


def test_exception_is_shown_as_its_last_line_only() -> None:
    stack = "Traceback (most recent call last):\n  File ...\nValueError: no"
    line = parse_line("gateway", json.dumps(RECORD | {"exception": stack}))
    assert line.readable() == "poll.shed agent=a1 ValueError: no"


@pytest.mark.parametrize(
    ("raw", "level", "shown"),
    [
        ("2026-01-01 00:00:00.1 UTC [7] LOG:  ready", "info", "ready"),
        ("2026-01-01 00:00:00.1 UTC [7] WARNING:  odd", "warning", "odd"),
        ("2026-01-01 00:00:00.1 UTC [7] FATAL:  the disk is full", "error", "the disk is full"),
        ("2026-01-01 00:00:00.1 UTC [7] PANIC:  the end", "critical", "the end"),
        ("postgres: could not find itself", "info", "postgres: could not find itself"),
    ],
)
def test_postgres_line_has_its_level(raw: str, level: str, shown: str) -> None:
    line = parse_line("postgres", raw)
    assert (line.level, line.readable()) == (level, shown)


@pytest.mark.parametrize(
    ("raw", "level"),
    [
        ("[7] 2026/01/01 00:00:00.1 [INF] Server is ready", "info"),
        ("[7] 2026/01/01 00:00:00.1 [WRN] slow", "warning"),
        ("[7] 2026/01/01 00:00:00.1 [FTL] Can't bind", "critical"),
    ],
)
def test_nats_line_has_its_level(raw: str, level: str) -> None:
    assert parse_line("nats", raw).level == level


@pytest.mark.parametrize(
    "raw", ["{", "[1]", "{}", '{"event": 1, "level": 7}', "Traceback (most recent call last):", "{" * 5000]
)
def test_anything_else_is_an_info_line_and_becomes_valid_json(raw: str) -> None:
    line = parse_line("agent", raw)
    assert line.level == "info"
    assert json.loads(line.as_json("2026-01-01T00:00:00Z"))
