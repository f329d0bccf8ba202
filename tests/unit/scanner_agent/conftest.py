from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from redflag_scanner_agent import failpoints
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.signing import SigningKey
from tests.support.agent_fleet import Fleet, key
from tests.unit.scanner_agent.host import Host


@pytest.fixture
def journal_file(tmp_path: Path) -> Iterator[JournalFile]:
    file = JournalFile(tmp_path / "journal.db")
    yield file
    file.close()


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    failpoints.set_hook(None)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def receipt_key() -> SigningKey:
    return key()


@pytest.fixture
def host(tmp_path: Path, fleet: Fleet) -> Iterator[Host]:
    made = Host(tmp_path, fleet, agent=uuid4())
    yield made
    made.close()
