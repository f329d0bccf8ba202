"""Which updates an operator's word changes, and which it leaves alone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from redflag_store.queries.updates import AT_REST, UpdateRow
from redflag_store.states import PackageUpdateState

S = PackageUpdateState
_BUSY = frozenset({S.INSTALLING, S.CHECKING_DEPENDENCIES})


@dataclass(slots=True)
class Split:
    """Updates an operator named.

    Attributes:
        new: the word changes them.
        already: how many stand as the word says.
        busy: how many are left alone, because a command works on them.
    """

    new: list[UpdateRow] = field(default_factory=list)
    already: int = 0
    busy: int = 0


def is_approved(row: UpdateRow) -> bool:
    """Whether an update is approved at its present candidate."""
    package = row.package
    return (
        package.approved_version is not None
        and package.approved_version == package.candidate
        and package.state not in AT_REST
    )


def split(rows: Iterable[UpdateRow], word: PackageUpdateState) -> Split:
    """Split updates by what a word means for them.

    An approval of a package that is being planned or installed is noted beside it; no other word is about such a one.
    One whose installation failed is approved anew: somebody looked at it and wants it again.
    """
    parts = Split()
    for row in rows:
        if word is S.APPROVED:
            if row.package.candidate is None or (is_approved(row) and row.state != S.FAILED):
                parts.already += 1
            else:
                parts.new.append(row)
        elif row.state in _BUSY:
            parts.busy += 1
        elif _stands(row, word):
            parts.already += 1
        else:
            parts.new.append(row)
    return parts


def _stands(row: UpdateRow, word: PackageUpdateState) -> bool:
    if word is S.PENDING:
        return row.state in {S.PENDING, S.HELD} and row.package.approved_version is None
    return row.state == word
