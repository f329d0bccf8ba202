from pathlib import Path

import pytest

from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.services import services_to_restart


def program(directory: Path, body: str) -> str:
    path = directory / "needrestart"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


async def test_services_are_those_that_needrestart_lists(tmp_path: Path) -> None:
    said = program(
        tmp_path,
        'test "$*" = "-b -r l" || exit 9\n'
        "echo NEEDRESTART-VER: 3.6\necho NEEDRESTART-SVC: ssh.service\necho NEEDRESTART-SVC: cron.service",
    )
    assert await services_to_restart([str(tmp_path / "nowhere"), said]) == ["cron.service", "ssh.service"]


async def test_without_needrestart_there_are_none(tmp_path: Path) -> None:
    assert await services_to_restart([str(tmp_path / "nowhere")]) == []


async def test_needrestart_without_an_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageManagerError, match="out of cheese"):
        await services_to_restart([program(tmp_path, "echo out of cheese >&2; exit 3")])
