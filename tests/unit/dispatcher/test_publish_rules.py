from datetime import timedelta

import pytest

from redflag_dispatcher.errors import PublishError
from redflag_dispatcher.publish_rules import (
    LONGEST_WAIT_S,
    MAX_PER_SUBJECT,
    PubAck,
    Verdict,
    judge,
    next_try,
    parse_answer,
    ttl_s,
)
from tests.unit.dispatcher.signers import NOW


@pytest.mark.parametrize(
    ("data", "headers", "verdict"),
    [
        (b'{"stream":"CMD-1","seq":7}', None, Verdict.PUBLISHED),
        (b'{"stream":"CMD-1","seq":7,"duplicate":true}', None, Verdict.LOOK_UP),
        (b'{"error":{"code":400,"err_code":10077,"description":"maximum"}}', None, Verdict.FULL),
        (b'{"error":{"code":503,"err_code":10023}}', None, Verdict.AGAIN),
        (b"", {"Status": "503"}, Verdict.AGAIN),
        (b"[]", None, Verdict.AGAIN),
        (b'{"stream":"CMD-1"}', None, Verdict.AGAIN),
        (b'{"error":"text"}', None, Verdict.AGAIN),
        (b"\xff", None, Verdict.AGAIN),
    ],
)
def test_answer_is_judged(data: bytes, headers: dict[str, str] | None, verdict: Verdict) -> None:
    assert judge(parse_answer(data, headers)) is verdict


def test_silence_is_tried_again() -> None:
    assert judge(PublishError(0, "no answer")) is Verdict.AGAIN
    assert judge(PublishError(MAX_PER_SUBJECT, "full")) is Verdict.FULL
    assert judge(PubAck("CMD-0", 1, False)) is Verdict.PUBLISHED


def test_waits_double_up_to_a_minute() -> None:
    waits = [(next_try(Verdict.AGAIN, attempts, NOW, 1.0) - NOW).total_seconds() for attempts in range(20)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(waits) == LONGEST_WAIT_S
    assert (next_try(Verdict.AGAIN, 3, NOW, 0.0) - NOW).total_seconds() == 2.0


def test_ttl_is_whole_seconds_and_never_below_one() -> None:
    assert ttl_s(NOW + timedelta(seconds=59.9), NOW) == 59
    assert ttl_s(NOW + timedelta(seconds=0.5), NOW) == 1
    assert ttl_s(NOW - timedelta(seconds=5), NOW) == 1
