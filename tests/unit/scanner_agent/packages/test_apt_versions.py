import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redflag_scanner_agent.packages.apt_versions import compare

VERSIONS = [
    "1.0~~", "1.0~~a", "1.0~", "1.0~rc1", "1.0", "1.0+", "1.0+b1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0.1", "1.0a",
    "1.0a1",
    "1.00", "1.10", "1.9", "2025b-0+deb12u2", "2026f-0+deb12u1", "1:0.9", "0:1.0", "10:1", "1.0-0", "1-1-1", "0", "00",
]  # fmt: skip


def test_order_of_known_versions() -> None:
    ordered = ["1.0~~", "1.0~~a", "1.0~", "1.0~rc1", "1.0", "1.0a", "1.0+", "1.0.1", "1.9", "1.10", "1:0.1"]
    for older, newer in itertools.combinations(ordered, 2):
        assert compare(older, newer) == -1, (older, newer)
        assert compare(newer, older) == 1, (older, newer)


def test_missing_revision_equals_revision_zero() -> None:
    assert compare("1.0", "1.0-0") == 0
    assert compare("0:1.0", "1.0") == 0


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the oracle here")
def test_every_pair_agrees_with_dpkg() -> None:
    for left, right in itertools.combinations(VERSIONS, 2):
        relation = {-1: "lt", 0: "eq", 1: "gt"}[compare(left, right)]
        argv = ["dpkg", "--compare-versions", left, relation, right]
        assert subprocess.run(argv, check=False).returncode == 0, argv


@given(st.text("01a.~+-", max_size=8), st.text("01a.~+-", max_size=8), st.text("01a.~+-", max_size=8))
@settings(max_examples=200)
def test_order_is_total(one: str, two: str, three: str) -> None:
    assert compare(one, two) == -compare(two, one)
    if compare(one, two) <= 0 and compare(two, three) <= 0:
        assert compare(one, three) <= 0
