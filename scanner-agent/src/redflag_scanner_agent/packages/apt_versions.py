"""Comparing Debian versions as dpkg does (Debian Policy 5.6.12), without starting dpkg for each pair.

Rules only. A tilde sorts before everything, even the end; letters before other signs; digits by number.
"""

import re
from itertools import zip_longest

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def compare(left: str, right: str) -> int:
    """-1, 0 or 1 as `left` is older than, the same as or newer than `right`."""
    left_epoch, left_upstream, left_revision = _split(left)
    right_epoch, right_upstream, right_revision = _split(right)
    if left_epoch != right_epoch:
        return -1 if left_epoch < right_epoch else 1
    return _compare_part(left_upstream, right_upstream) or _compare_part(left_revision, right_revision)


def _split(version: str) -> tuple[int, str, str]:
    head, colon, rest = version.partition(":")
    epoch = int(head) if colon and head.isascii() and head.isdigit() else 0
    if not colon:
        rest = version
    upstream, dash, revision = rest.rpartition("-")
    # No revision counts as revision 0, which the empty string equals below.
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def _compare_part(left: str, right: str) -> int:
    for (left_text, left_digits), (right_text, right_digits) in zip_longest(
        _PARTS.findall(left), _PARTS.findall(right), fillvalue=("", "")
    ):
        for one, other in zip_longest(left_text, right_text, fillvalue=""):
            if one != other:
                return -1 if _order(one) < _order(other) else 1
        left_number, right_number = int(left_digits or 0), int(right_digits or 0)
        if left_number != right_number:
            return -1 if left_number < right_number else 1
    return 0


def _order(sign: str) -> int:
    if sign == "~":
        return -1
    if sign == "":
        return 0
    return ord(sign) if sign.isalpha() else ord(sign) + 256
