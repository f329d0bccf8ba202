import io
import json
import logging

import structlog

from redflag_ops.logging import VALUE_MAX_CHARS, configure, get_logger


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_record_carries_program_event_fields_and_context() -> None:
    stream = io.StringIO()
    configure("gateway", stream=stream)
    with structlog.contextvars.bound_contextvars(op="0199"):
        get_logger().info("poll.answered", agent="a1", commands=2)
    (record,) = records(stream)
    assert record["program"] == "gateway"
    assert record["event"] == "poll.answered"
    assert record["op"] == "0199"
    assert (record["agent"], record["commands"], record["level"]) == ("a1", 2, "info")
    assert str(record["ts"]).endswith("Z")


def test_records_of_libraries_take_the_same_road() -> None:
    stream = io.StringIO()
    configure("dispatcher", stream=stream)
    logging.getLogger("nats").warning("slow %s", "consumer")
    (record,) = records(stream)
    assert (record["event"], record["program"], record["level"]) == ("slow consumer", "dispatcher", "warning")


def test_a_value_from_a_peer_is_bounded() -> None:
    stream = io.StringIO()
    configure("gateway", stream=stream)
    get_logger().info("request.refused", detail="x" * 100_000)
    assert len(stream.getvalue()) < VALUE_MAX_CHARS + 500


def test_line_breaks_of_a_peer_do_not_make_a_second_record() -> None:
    stream = io.StringIO()
    configure("gateway", stream=stream)
    get_logger().info("request.refused", detail='x\n{"event": "forged"}')
    assert len(records(stream)) == 1
