"""Following a command, with a clock of our own."""

import io
from typing import Any

import pytest

from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Format
from redflag.cli.output import Output
from redflag.cli.problems import ApiProblemError, ServerUnreachableError, WaitTimedOutError
from redflag.cli.waiting import AWAY_MAX_S, Pace, follow, outcome
from tests.unit.deploy.cli.stand_in import COMMAND_ID, a_command


class Server:
    """Answers in turn, each after some seconds of the clock; the last one again and again."""

    def __init__(self, *answers: tuple[float, Any]) -> None:
        self.answers = list(answers)
        self.now = 0.0
        self.asked: list[tuple[float, dict[str, Any]]] = []

    async def get(self, path: str, query: dict[str, Any], *, wait_s: float) -> Any:
        assert path == f"/commands/{COMMAND_ID}"
        assert query["wait"] == wait_s
        self.asked.append((self.now, query))
        seconds, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.now += min(seconds, wait_s) if isinstance(answer, dict) else seconds
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def wait(server: Server, timeout_s: float = 1800) -> tuple[Any, str, Output]:
    err = io.StringIO()
    out = Output(io.StringIO(), err, Format.TABLE)
    pace = Pace(lambda: server.now, server.sleep)
    try:
        found = await follow(server, out, a_command(), timeout_s=timeout_s, pace=pace)  # type: ignore[arg-type]
    except Exception:
        assert out.goes_on is not None
        assert COMMAND_ID in out.goes_on
        raise
    return found, err.getvalue(), out


async def test_each_state_is_told_until_the_end() -> None:
    server = Server((3, a_command("queued")), (4, a_command("running")), (5, a_command("succeeded")))
    found, told, out = await wait(server)
    assert found["state"] == "succeeded"
    assert [query["after_state"] for _, query in server.asked] == ["requested", "queued", "running"]
    assert told.splitlines() == [
        "web-04: scan: asked for; waits for the dispatcher to sign it (0 s)",
        "web-04: scan: on its way; waits for the host (3 s)",
        "web-04: scan: the host works on it (7 s)",
    ]
    assert out.goes_on is None


async def test_the_waiting_ends_in_time_and_names_the_command() -> None:
    server = Server((50, a_command("queued")))
    with pytest.raises(WaitTimedOutError) as caught:
        await wait(server, 130)
    assert (caught.value.command_id, caught.value.state) == (COMMAND_ID, "queued")
    assert caught.value.exit_code is ExitCode.TIMED_OUT
    assert [query["wait"] for _, query in server.asked] == [50, 50, 30]
    assert server.now == pytest.approx(130)


async def test_a_server_that_answers_at_once_is_asked_once_a_second() -> None:
    server = Server((0, a_command("requested")))
    with pytest.raises(WaitTimedOutError):
        await wait(server, 10)
    assert len(server.asked) <= 11


async def test_a_restart_of_the_server_does_not_end_the_waiting() -> None:
    away = ServerUnreachableError("away")
    server = Server(
        (1, away), (1, away), (0, ApiProblemError(503, {"code": "database_unavailable"})),
        (0, a_command("running")), (3, a_command("succeeded")),
    )  # fmt: skip
    found, told, _ = await wait(server)
    assert found["state"] == "succeeded"
    assert told.count("the server is away") == 1


async def test_a_server_away_for_long_is_an_error() -> None:
    server = Server((1, ServerUnreachableError("away")))
    with pytest.raises(ServerUnreachableError):
        await wait(server)
    assert AWAY_MAX_S < server.now < AWAY_MAX_S + 5


async def test_a_refusal_ends_the_waiting_at_once() -> None:
    server = Server((0, ApiProblemError(401, {"code": "unauthenticated"})))
    with pytest.raises(ApiProblemError):
        await wait(server)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("state", "result", "code"),
    [("succeeded", None, 0), ("succeeded", "succeeded", 0), ("succeeded", "succeeded_pending_reboot", 0),
     ("succeeded", "partial", 1), ("failed", "failed", 1), ("expired", None, 1), ("unknown", None, 1),
     ("rejected", "rejected", 1), ("cancelled", None, 1), ("parked", None, 1)],
)  # fmt: skip
def test_only_success_is_done(state: str, result: str | None, code: int) -> None:
    assert outcome(a_command(state, result=result)) == code
