from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from redflag_dispatcher.report_chain import AHEAD_MAX, GAP_PATIENCE, Chain, ChainFault


def add(chain: Chain, rseq: int, prev: int | None, *, receipt: bool = False) -> list[ChainFault]:
    """Follow with digests that are just the numbers."""
    return chain.follow(rseq, str(rseq), None if prev is None else str(prev), by_receipt_key=receipt)


def test_chain_without_faults_is_confirmed_to_its_end() -> None:
    chain = Chain()
    assert [add(chain, n, n - 1 or None) for n in range(1, 6)] == [[]] * 5
    assert (chain.confirmed, chain.ahead) == (5, set())


def test_two_keys_share_numbers_and_have_chains_of_their_own() -> None:
    chain = Chain()
    assert add(chain, 1, None) == []
    assert add(chain, 2, None, receipt=True) == []
    assert add(chain, 3, 1) == []
    assert add(chain, 4, 2, receipt=True) == []
    assert chain.confirmed == 4


def test_gap_is_told_once_and_confirmed_when_it_closes() -> None:
    chain = Chain()
    add(chain, 1, None)
    assert add(chain, 4, 3) == [ChainFault.GAP]
    assert add(chain, 5, 4) == []
    assert chain.confirmed == 1
    assert add(chain, 3, 2) == [ChainFault.GAP]
    assert add(chain, 2, 1) == []
    assert (chain.confirmed, chain.ahead) == (5, set())


def test_taken_number_is_a_fork() -> None:
    chain = Chain()
    add(chain, 1, None)
    add(chain, 2, 1)
    assert add(chain, 2, 1) == [ChainFault.FORK]
    assert add(chain, 1, None) == [ChainFault.FORK]
    assert chain.confirmed == 2


def test_prev_that_names_another_report_is_a_fork() -> None:
    chain = Chain()
    add(chain, 1, None)
    assert add(chain, 2, 7) == [ChainFault.FORK]
    assert add(chain, 3, 2) == [], "the chain goes on from what is stored"
    assert add(chain, 4, None) == [ChainFault.FORK], "only the first report names none"


def test_gap_that_never_closes_is_given_up() -> None:
    chain = Chain()
    add(chain, 1, None)
    for n in range(3, 3 + AHEAD_MAX):
        add(chain, n, n - 1)
        assert chain.confirmed == 1
    last = 3 + AHEAD_MAX
    add(chain, last, last - 1)
    assert (chain.confirmed, chain.ahead) == (last, set())


@given(st.permutations(range(1, 30)))
def test_any_order_of_arrival_confirms_everything(order: list[int]) -> None:
    chain = Chain()
    for n in order:
        faults = add(chain, n, n - 1 or None)
        assert ChainFault.FORK not in faults
    assert (chain.confirmed, chain.ahead) == (29, set())


@given(st.lists(st.integers(1, 40), max_size=60))
def test_confirmed_never_goes_back_and_never_beyond_what_came(arrivals: list[int]) -> None:
    chain = Chain()
    seen: set[int] = set()
    for n in arrivals:
        before = chain.confirmed
        add(chain, n, n - 1 or None)
        seen.add(n)
        assert chain.confirmed >= before
        assert set(range(1, chain.confirmed + 1)) <= seen


NOW = datetime(2026, 11, 21, tzinfo=UTC)


def with_gap() -> Chain:
    """Numbers 1, 6, 7 and 9."""
    chain = Chain()
    for rseq, prev in ((1, None), (6, 5), (7, 6), (9, 8)):
        add(chain, rseq, prev)
    return chain


def test_gap_is_given_up_when_its_upper_edge_comes_again_after_a_while() -> None:
    chain = with_gap()
    assert chain.give_up_gap(6, first=NOW - GAP_PATIENCE, now=NOW) == range(2, 6)
    assert (chain.confirmed, chain.ahead) == (7, {9})
    assert chain.give_up_gap(9, first=NOW - GAP_PATIENCE, now=NOW) == range(8, 9)
    assert (chain.confirmed, chain.ahead) == (9, set())


def test_nothing_else_that_comes_again_gives_a_gap_up() -> None:
    chain = with_gap()
    long_ago = NOW - 10 * GAP_PATIENCE
    assert chain.give_up_gap(1, first=long_ago, now=NOW) is None
    assert chain.give_up_gap(7, first=long_ago, now=NOW) is None
    assert chain.give_up_gap(6, first=NOW - GAP_PATIENCE + timedelta(seconds=1), now=NOW) is None
    assert (chain.confirmed, chain.ahead) == (1, {6, 7, 9})
    assert Chain().give_up_gap(1, first=long_ago, now=NOW) is None


def test_skipped_number_closes_its_place_only() -> None:
    chain = with_gap()
    chain.skip(2)
    assert chain.confirmed == 2
    chain.skip(1)
    chain.skip(8)
    assert (chain.confirmed, chain.ahead) == (2, {6, 7, 8, 9})
