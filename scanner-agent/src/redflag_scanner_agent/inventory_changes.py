"""What changed between two inventories of one package manager (docs/protocol.md 6). Rules only.

Guarantee: for every two lists without a package twice, `applied(base, *changes(base, new))` is `new`, row for row.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from redflag_wire.report_bodies import PackageKey, UpdateItem

WHOLE_ABOVE = 0.5  # share of the rows that must have changed before the whole inventory is sent instead


def keyed(rows: Iterable[UpdateItem]) -> dict[tuple[str, str], UpdateItem]:
    """Return the rows by package."""
    return {(row.name, row.arch): row for row in rows}


def has_doubles(rows: Sequence[UpdateItem]) -> bool:
    """Whether a package is listed twice: changes by package then say nothing definite."""
    return any(count > 1 for count in Counter((row.name, row.arch) for row in rows).values())


def changes(
    base: Sequence[UpdateItem], new: Sequence[UpdateItem]
) -> tuple[list[UpdateItem], list[PackageKey]]:
    """Return the rows that are new or different, and the packages that have none any more; both sorted.

    Raises:
        ValueError: a package is listed twice.
    """
    if has_doubles(base) or has_doubles(new):
        raise ValueError("a package is listed twice")
    before, after = keyed(base), keyed(new)
    changed = [after[key] for key in sorted(after) if before.get(key) != after[key]]
    gone = [PackageKey(name=name, arch=arch) for name, arch in sorted(before.keys() - after.keys())]
    return changed, gone


def applied(
    base: Sequence[UpdateItem], changed: Iterable[UpdateItem], gone: Iterable[PackageKey]
) -> list[UpdateItem]:
    """Return the inventory after the changes, sorted by package."""
    rows = keyed(base) | keyed(changed)
    for key in gone:
        rows.pop((key.name, key.arch), None)
    return [rows[key] for key in sorted(rows)]


def worth_it(changed: int, gone: int, total: int) -> bool:
    """Whether changes are smaller than the whole they stand for."""
    return changed + gone <= max(1.0, total * WHOLE_ABOVE)
