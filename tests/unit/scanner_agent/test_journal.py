import contextlib
import os
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from redflag_scanner_agent import failpoints, journal_file
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.journal import KEEP, OPEN_MAX, PLANS_MAX, Entry, Journal, JournalState
from redflag_scanner_agent.journal_file import JournalFile, wait_for_lock
from redflag_scanner_agent.spool import Spool
from redflag_scanner_agent.tombstones import Tombstones
from redflag_wire.timestamps import format_timestamp
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


VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE command (
    cmd TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    op TEXT,
    payload BLOB NOT NULL,
    exp TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'started', 'done')),
    boot_id TEXT,
    started TEXT,
    finished TEXT,
    result TEXT,
    code TEXT,
    plan_digest TEXT,
    body BLOB,
    body_ref TEXT
) STRICT;
CREATE INDEX command_open ON command (seq) WHERE state <> 'done';
CREATE TABLE plan (digest TEXT PRIMARY KEY, manager TEXT NOT NULL, plan BLOB NOT NULL, made TEXT NOT NULL) STRICT;
CREATE TABLE report (
    rseq INTEGER PRIMARY KEY,
    report TEXT NOT NULL UNIQUE,
    signer TEXT NOT NULL CHECK (signer IN ('agent', 'receipt')),
    prev TEXT,
    cmd TEXT,
    state TEXT,
    envelope BLOB,
    body BLOB
) STRICT;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    body_ref TEXT NOT NULL,
    mark TEXT
) STRICT;
"""
"""The file as agents of version 0.1 made it; never changed here when the agent's own schema changes."""


def made_by_version_1(path: Path) -> None:
    """What such an agent leaves when it is stopped in the middle of its work."""
    exp = format_timestamp(START + timedelta(hours=1))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_1 + "PRAGMA user_version=1;")
        for number, state in enumerate(("received", "started", "done"), 1):
            db.execute(
                "INSERT INTO command (cmd, digest, seq, kind, payload, exp, state, boot_id, result)"
                " VALUES (?, ?, ?, 'scan', x'00', ?, ?, 'boot', ?)",
                (
                    f"cmd-{number}",
                    f"digest-{number}",
                    number,
                    exp,
                    state,
                    "succeeded" if number == 3 else None,
                ),
            )
        db.execute("INSERT INTO meta VALUES ('floor', CAST('7' AS BLOB)), ('rseq', CAST('2' AS BLOB))")
        db.execute("INSERT INTO plan VALUES ('digest', 'apt', x'01', ?)", (exp,))
        db.execute("INSERT INTO report VALUES (2, 'report', 'receipt', NULL, 'cmd-3', 'done', x'02', x'03')")


def test_file_of_version_1_is_taken_over_with_all_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "helper.db"
    made_by_version_1(path)
    with contextlib.closing(JournalFile(path)) as file:
        journal, spool = Journal(file), Spool(file)
        assert [(one.cmd, one.state.value) for one in journal.unfinished()] == [
            ("cmd-1", "received"),
            ("cmd-2", "started"),
        ]
        done = journal.find("cmd-3")
        assert done is not None
        assert (done.result, done.attempts, done.cancel, done.due_ms, done.ordered_ms) == (
            "succeeded", 0, None, None, None,
        )  # fmt: skip
        assert (journal.floor, journal.plan("digest"), spool.last_rseq) == (7, b"\x01", 2)
        assert spool.batch(0) == ([(b"\x02", b"\x03")], 2)
        # What version 2 added works on it.
        assert journal.attempt("cmd-1") == 1
        journal.want_cancel("cmd-2", "cmd-9")
        Tombstones(file).bury("cmd-9", START)
        wish = journal.find("cmd-2")
        assert wish is not None
        assert wish.cancel == "cmd-9"
    with contextlib.closing(JournalFile(path)) as file:  # and it is done once
        assert file.db.execute("PRAGMA user_version").fetchone()[0] == 2
        assert Tombstones(file).holds("cmd-9", START)


def test_crash_within_the_take_over_leaves_a_file_of_version_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "helper.db"
    made_by_version_1(path)
    steps = journal_file._STEPS
    monkeypatch.setattr(journal_file, "_STEPS", (steps[0], steps[1] + "DROP TABLE nowhere;\n"))
    with pytest.raises(JournalError) as refused:
        JournalFile(path)
    assert refused.value.code == "journal_write"
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        assert "attempts" not in {row[1] for row in db.execute("PRAGMA table_info(command)")}
    monkeypatch.undo()
    with contextlib.closing(JournalFile(path)) as file:
        assert len(Journal(file).unfinished()) == 2


def test_new_file_and_one_taken_over_are_the_same(tmp_path: Path) -> None:
    made_by_version_1(tmp_path / "old.db")
    shapes = []
    for name in ("old.db", "new.db"):
        with contextlib.closing(JournalFile(tmp_path / name)) as file:
            tables = [row["name"] for row in file.db.execute("SELECT name FROM sqlite_schema ORDER BY name")]
            shapes.append(
                {
                    name: [tuple(row) for row in file.db.execute(f"PRAGMA table_info({name})")]
                    for name in tables
                }
            )
    assert shapes[0] == shapes[1]
