import pytest

from redflag_scanner_agent.packages.output import OutputKeeper


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_output_within_bounds_is_whole(piece: int) -> None:
    keeper = OutputKeeper(10, 10)
    data = b"0123456789abcdefghij"
    for start in range(0, len(data), piece):
        keeper.feed(data[start : start + piece])
    assert keeper.text() == data.decode()
    assert keeper.dropped == 0


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_output_beyond_bounds_keeps_both_ends_and_says_so(piece: int) -> None:
    keeper = OutputKeeper(4, 4)
    data = b"head" + b"x" * 1000 + b"tail"
    for start in range(0, len(data), piece):
        keeper.feed(data[start : start + piece])
    assert keeper.text() == "head\n[... 1000 bytes left out ...]\ntail"


def test_output_bytes_that_are_not_text_are_replaced() -> None:
    keeper = OutputKeeper(10, 0)
    keeper.feed(b"a\xffb")
    assert keeper.text() == "a\ufffdb"
