import os
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from redflag_scanner_agent import failpoints
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.journal import KEEP, OPEN_MAX, PLANS_MAX, Entry, Journal, JournalState
from redflag_scanner_agent.journal_file import JournalFile, wait_for_lock
from tests.support.agent_fleet import START


def entry(number: int = 1) -> Entry:
    return Entry(
        cmd=f"cmd-{number}",
        digest="sha256:" + f"{number:064x}",
        seq=number,
        kind="scan",
        op=None,
        payload=b"payload",
        exp=START + timedelta(hours=1),
        state=JournalState.RECEIVED,
    )


def nothing() -> None:
    return


def finish(journal: Journal, cmd: str, result: str = "succeeded") -> None:
    journal.finish(
        cmd, result=result, code=None, at=START, plan_digest=None, body=None, body_ref=None, report=nothing
    )


class CrashError(Exception):
    """The process dies here."""


def crash_at(wanted: str) -> None:
    def hook(name: str) -> None:
        if name == wanted:
            raise CrashError

    failpoints.set_hook(hook)


def reopened(file: JournalFile) -> Journal:
    failpoints.set_hook(None)
    return Journal(JournalFile(file.path))


def test_states_go_forward_and_are_remembered(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)
    journal.receive(entry(), nothing)
    journal.start("cmd-1", boot_id="boot", at=START, report=nothing)
    finish(journal, "cmd-1")
    found = Journal(JournalFile(journal_file.path)).find("cmd-1")
    assert found == replace(
        entry(), state=JournalState.DONE, boot_id="boot", started=START, finished=START, result="succeeded"
    )


@pytest.mark.parametrize(
    "step", ["start_unknown", "start_twice", "start_done", "finish_twice", "receive_twice"]
)
def test_step_out_of_order_is_refused(journal_file: JournalFile, step: str) -> None:
    journal = Journal(journal_file)
    journal.receive(entry(), nothing)
    journal.start("cmd-1", boot_id="boot", at=START, report=nothing)
    if step in {"start_done", "finish_twice"}:
        finish(journal, "cmd-1")
    other = replace(entry(), digest="sha256:" + "f" * 64)
    steps = {
        "finish_twice": lambda: finish(journal, "cmd-1", "failed"),
        "receive_twice": lambda: journal.receive(other, nothing),
        "start_unknown": lambda: journal.start("cmd-2", boot_id="boot", at=START, report=nothing),
    }
    again = lambda: journal.start("cmd-1", boot_id="boot", at=START, report=nothing)  # noqa: E731
    before = journal.find("cmd-1")
    with pytest.raises(JournalError):
        steps.get(step, again)()
    assert journal.find("cmd-1") == before


@pytest.mark.parametrize(
    ("point", "state"),
    [
        ("journal.before_received", None),
        ("journal.within_received", None),
        ("journal.after_received", JournalState.RECEIVED),
        ("journal.before_started", JournalState.RECEIVED),
        ("journal.within_started", JournalState.RECEIVED),
        ("journal.after_started", JournalState.STARTED),
        ("journal.before_done", JournalState.STARTED),
        ("journal.within_done", JournalState.STARTED),
        ("journal.after_done", JournalState.DONE),
    ],
)
def test_crash_leaves_the_step_whole_or_undone(
    journal_file: JournalFile, point: str, state: JournalState | None
) -> None:
    journal = Journal(journal_file)

    def all_steps() -> None:
        journal.receive(entry(), nothing)
        journal.start("cmd-1", boot_id="boot", at=START, report=nothing)
        finish(journal, "cmd-1")

    crash_at(point)
    with pytest.raises(CrashError):
        all_steps()
    found = reopened(journal_file).find("cmd-1")
    assert (None if found is None else found.state) is state


def test_report_that_cannot_be_written_undoes_its_step(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)

    def broken() -> None:
        raise JournalError("spool", "no")

    with pytest.raises(JournalError):
        journal.receive(entry(), broken)
    assert journal.find("cmd-1") is None


def test_pruning_raises_the_floor_with_what_it_forgets(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)
    for number in (5, 6, 7):
        journal.receive(entry(number), nothing)
    finish(journal, "cmd-5")
    finish(journal, "cmd-6")
    assert journal.prune(START + timedelta(hours=1) + KEEP) == 0
    assert journal.prune(START + timedelta(hours=1, seconds=1) + KEEP) == 2
    assert journal.floor == 6
    assert journal.find("cmd-6") is None
    assert journal.find("cmd-7") is not None  # not done: never forgotten
    assert reopened(journal_file).floor == 6


def test_open_commands_are_bounded_and_in_order(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)
    for number in range(OPEN_MAX, 0, -1):
        assert journal.has_room()
        journal.receive(entry(number), nothing)
    assert not journal.has_room()
    assert [one.seq for one in journal.unfinished()] == list(range(1, OPEN_MAX + 1))


def test_newest_plans_are_kept_as_written(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)
    for number in range(PLANS_MAX + 2):
        journal.keep_plan(f"sha256:{number}", "fake", b"%d" % number, START + timedelta(seconds=number))
    assert journal.plan("sha256:0") is None
    assert journal.plan("sha256:1") is None
    assert journal.plan("sha256:2") == b"2"


def test_writes_are_synchronous_and_logged_ahead(journal_file: JournalFile) -> None:
    assert journal_file.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert journal_file.db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_journal_file_is_for_its_owner_alone(journal_file: JournalFile) -> None:
    assert journal_file.path.stat().st_mode & 0o777 == 0o600


def test_damaged_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(JournalError) as caught:
        JournalFile(tmp_path / "bad.db")
    assert caught.value.code == "journal_open"


def test_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "new.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalError) as caught:
        JournalFile(tmp_path / "new.db")
    assert caught.value.code == "journal_version"


def test_full_disk_changes_nothing(journal_file: JournalFile) -> None:
    journal = Journal(journal_file)
    journal.receive(entry(), nothing)
    pages = journal_file.db.execute("PRAGMA page_count").fetchone()[0]
    journal_file.db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(JournalError) as caught:
        journal.keep_plan("sha256:big", "fake", b"x" * 1_000_000, START)
    assert caught.value.code == "journal_write"
    assert journal.plan("sha256:big") is None
    assert journal.find("cmd-1") is not None


def test_second_helper_waits_for_the_first(tmp_path: Path) -> None:
    first = wait_for_lock(tmp_path / "lock", give_up=lambda: True, waiting=nothing)
    told: list[bool] = []
    with pytest.raises(JournalError):
        wait_for_lock(tmp_path / "lock", give_up=lambda: True, waiting=lambda: told.append(True))
    assert told == [True]

    def first_ends() -> bool:
        os.close(first)
        return False

    os.close(wait_for_lock(tmp_path / "lock", give_up=first_ends, waiting=nothing))
