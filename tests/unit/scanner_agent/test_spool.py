import pytest

from redflag_scanner_agent import failpoints, spool
from redflag_scanner_agent.errors import JournalError, SpoolFullError
from redflag_scanner_agent.journal_file import JournalFile
from redflag_scanner_agent.spool import Place, Signed, Spool
from redflag_wire.report import CommandState, ReportKind
from redflag_wire.report_body_codec import seal_body


def signed(place: Place) -> Signed:
    return Signed(b"envelope-%d" % place.rseq, f"sha256:{place.rseq:064x}")


def receipt(found: Spool, name: str) -> None:
    found.add_receipt(name, signed, cmd="cmd", state=CommandState.RECEIVED)


def test_numbers_are_contiguous_over_both_keys_and_each_key_has_its_chain(journal_file: JournalFile) -> None:
    found = Spool(journal_file)
    receipt(found, "r1")
    place = found.reserve("a1")
    receipt(found, "r2")
    found.commit(place, signed(place), b"")
    second = found.reserve("a2")
    rows = journal_file.db.execute("SELECT rseq, prev FROM report ORDER BY rseq").fetchall()
    assert [row["rseq"] for row in rows] == [1, 2, 3, 4]
    assert rows[1]["prev"] is None
    assert rows[2]["prev"] == f"sha256:{1:064x}"
    assert second.prev == f"sha256:{2:064x}"


def test_reservation_outlives_a_crash_and_is_filled(journal_file: JournalFile) -> None:
    Spool(journal_file).reserve("a1")
    found = Spool(JournalFile(journal_file.path))
    place = found.reserved()
    assert place == Place("a1", 1, None)
    assert found.reserve("a1") == place
    with pytest.raises(JournalError) as caught:
        found.reserve("a2")
    assert caught.value.code == "reservation_open"
    receipt(found, "r1")
    assert found.batch(0) == ([], 0)  # what is sent has no gaps
    found.commit(place, signed(place), b"body")
    assert found.batch(0) == ([(b"envelope-1", b"body"), (b"envelope-2", b"")], 2)


def test_crash_after_reservation_keeps_the_number(journal_file: JournalFile) -> None:
    found = Spool(journal_file)

    def die(name: str) -> None:
        raise RuntimeError(name)

    failpoints.set_hook(die)
    with pytest.raises(RuntimeError):
        found.reserve("a1")
    assert found.reserved() == Place("a1", 1, None)
    assert found.last_rseq == 1


def test_bytes_go_into_the_open_place_only(journal_file: JournalFile) -> None:
    found = Spool(journal_file)
    place = found.reserve("a1")
    for wrong in (Place("a2", 1, None), Place("a1", 2, None), Place("a1", 1, "sha256:x")):
        with pytest.raises(JournalError):
            found.commit(wrong, signed(place), b"")
    found.commit(place, signed(place), b"")
    with pytest.raises(JournalError):
        found.commit(place, signed(place), b"")


def test_confirmation_lets_go_of_what_was_handed_out_only(journal_file: JournalFile) -> None:
    found = Spool(journal_file)
    for name in ("r1", "r2", "r3"):
        receipt(found, name)
    assert found.confirm(99) == 0  # never handed out: not believed
    assert found.confirm(2) == 2
    assert found.batch(0)[1] == 3
    assert found.last_rseq == 3
    receipt(found, "r4")
    assert found.last_rseq == 4


def test_mark_and_pending_go_with_the_commit(journal_file: JournalFile) -> None:
    found = Spool(journal_file)
    ref, body = seal_body(b"{}")
    assert found.add_pending(ReportKind.EVENT, body, ref)
    waiting = found.first_pending()
    assert waiting is not None
    assert (waiting.body, waiting.ref) == (body, ref)
    place = found.reserve("a1")
    assert found.mark("facts") is None
    found.commit(place, signed(place), body, mark=("facts", "abc"), pending=waiting.id)
    assert found.mark("facts") == "abc"
    assert found.first_pending() is None


def test_pending_bodies_are_bounded(journal_file: JournalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "PENDING_MAX", 2)
    found = Spool(journal_file)
    ref, body = seal_body(b"{}")
    assert [found.add_pending(ReportKind.EVENT, body, ref) for _ in range(3)] == [1, 2, 0]


def test_full_spool_reserves_nothing_but_takes_receipts(
    journal_file: JournalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_MAX_ROWS", spool.ROOM_ROWS + 1)
    found = Spool(journal_file)
    receipt(found, "r1")
    assert not found.has_room()
    with pytest.raises(SpoolFullError):
        found.reserve("a1")
    receipt(found, "r2")  # the end of a command that was begun is always kept
    assert found.last_rseq == 2


def test_batch_stays_below_its_bound(journal_file: JournalFile) -> None:
    found = Spool(journal_file)
    for name in ("r1", "r2", "r3"):
        found.add_receipt(name, signed, cmd="cmd", state=CommandState.DONE, body=b"x" * 100)
    assert found.batch(0, max_bytes=250)[1] == 2
    assert found.batch(2, max_bytes=250)[1] == 3
