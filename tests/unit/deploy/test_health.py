import io
import json
from datetime import UTC, datetime

from redflag.up.health import AGAINST_NOISE, HealthWatch
from redflag.up.reporter import LogFormat, Reporter


async def test_only_lasting_changes_are_reported_and_each_once() -> None:
    stream = io.StringIO()
    answers: list[str | None] = []

    async def ask() -> str | None:
        return answers.pop(0)

    watch = HealthWatch(
        {"gateway": ask}, Reporter(stream, LogFormat.JSON, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    )
    answers += [None, "blip", None, *["broker: gone"] * (AGAINST_NOISE + 3), None, None]
    while answers:
        await watch.look()
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(record["event"], record.get("reason")) for record in told] == [
        ("program.unwell", "broker: gone"),
        ("program.well", None),
    ]
