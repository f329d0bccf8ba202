from pathlib import Path

from redflag.up.log_files import LINE_MAX_BYTES, LineSplitter, RotatingLog


def test_log_keeps_its_bound_and_the_newest_lines(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", max_bytes=100, files=3)
    for number in range(100):
        log.write(f"line {number:03}")
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in ("a.log.2", "a.log.1", "a.log")).split("\n")
    assert kept[-2] == "line 099"
    assert kept == [f"line {number:03}" for number in range(100 - len(kept) + 1, 100)] + [""]


def test_log_of_the_last_run_is_appended_to_within_the_bound(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x" * 95 + "\n")
    log = RotatingLog(tmp_path / "a.log", max_bytes=100, files=3)
    log.write("something new")
    log.close()
    assert (tmp_path / "a.log").read_text() == "something new\n"
    assert (tmp_path / "a.log.1").stat().st_size == 96


def test_log_is_for_its_owner_only(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log")
    log.write("secret")
    log.close()
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600


def test_log_that_cannot_be_written_counts_and_says_so_later(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "missing" / "a.log")
    log.write("lost")
    log.write("lost too")
    (tmp_path / "missing").mkdir()
    log.write("kept")
    log.close()
    assert (tmp_path / "missing" / "a.log").read_text() == (
        "[2 lines before this one could not be written]\nkept\n"
    )


def test_splitter_joins_pieces_and_drops_empty_lines() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == ["one"]
    assert splitter.feed(b"o\r\n\n") == ["two"]
    assert splitter.feed(b"rest") == []
    assert splitter.flush() == ["rest"]
    assert splitter.flush() == []


def test_splitter_cuts_a_line_that_never_ends() -> None:
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (LINE_MAX_BYTES * 2 + 1))
    assert [len(line) for line in lines] == [LINE_MAX_BYTES, LINE_MAX_BYTES]
    assert splitter.flush() == ["x"]
