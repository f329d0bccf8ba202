"""`redflag export`: what it asks for, and where it writes."""

from pathlib import Path

import pytest

from tests.unit.deploy.cli.conftest import Cli
from tests.unit.deploy.cli.stand_in import StandIn

_PLACE = ("--group", "web", "--tag", "env=prod", "--under", "node1")
_TIMES = ("--since", "2026-05-01", "--until", "2026-06-01")
_SAME = {"group": "web", "tag": "env=prod", "under": "node1"}
_BETWEEN = {"since": "2026-05-01T00:00:00+00:00", "until": "2026-06-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (
            ("history", "h1", "--kind", "scan", "--state", "failed", "--source", "system", "--os", "debian",
             "--op", "o1", *_PLACE, *_TIMES),
            {"host": "h1", "kind": "scan", "state": "failed", "source": "system", "os": "debian", "op": "o1",
             **_SAME, **_BETWEEN},
        ),
        (("events", "--code", "started", *_TIMES), {"code": "started", **_BETWEEN}),
        (
            ("hosts", "--os", "debian", "--version-below", "1.0", "--needs-reboot", *_PLACE),
            {"os": "debian", "version_below": "1.0", "reboot_required": "true", **_SAME},
        ),
        (
            ("updates", "--severity", "high", "--availability", "held", *_PLACE),
            {"severity": "high", "availability": "held", **_SAME},
        ),
    ],
)  # fmt: skip
def test_an_export_takes_the_filters_of_its_list(
    cli: Cli, server: StandIn, tmp_path: Path, arguments: tuple[str, ...], asked: dict[str, str]
) -> None:
    server.answer(f"GET /{arguments[0]}/export", [])
    ended = cli("export", *arguments, "--out", str(tmp_path / "out.csv"))
    assert ended.code == 0, ended.err
    assert server.asked[-1].query == {**asked, "format": "csv"}


@pytest.mark.parametrize("out", ["", ".", "/", ".."])
def test_a_directory_is_no_file_to_write(cli: Cli, server: StandIn, out: str) -> None:
    ended = cli("export", "hosts", "--out", out)
    assert ended.code == 2
    assert "names a directory" in ended.err
    assert not server.asked
