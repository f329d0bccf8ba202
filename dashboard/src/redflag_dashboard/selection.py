"""Which of a host's updates an operator means. Pure; every name must fit exactly one update, or all are refused.

Nothing is guessed: a name that fits none or several, or a version that is not the candidate any more, refuses the
whole request and names every such entry.
"""

from collections.abc import Sequence
from typing import Any

from redflag_dashboard.models.updates import Package
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_store.queries.updates import UpdateRow


def select(rows: Sequence[UpdateRow], wanted: Sequence[str | Package]) -> list[UpdateRow]:
    """The updates meant, each once, in the order named.

    Args:
        rows: the host's updates.
        wanted: names (as `name` or `name:arch`) or exact packages.

    Raises:
        ProblemError: `update_not_found`, `package_ambiguous`.
    """
    by_name: dict[str, list[UpdateRow]] = {}
    for row in rows:
        by_name.setdefault(row.package.name, []).append(row)
    chosen: dict[tuple[str, str, str], UpdateRow] = {}
    unknown: list[dict[str, Any]] = []
    ambiguous: list[dict[str, Any]] = []
    for one in wanted:
        fitting = _fitting(by_name, one)
        if not fitting:
            unknown.append(_shown(one, by_name))
        elif len(fitting) > 1:
            ambiguous.append({"name": _name(one), "choices": [_exact(row) for row in fitting]})
        else:
            package = fitting[0].package
            chosen[package.manager, package.name, package.arch] = fitting[0]
    if unknown:
        names = ", ".join(one["name"] for one in unknown[:10])
        raise ProblemError(
            ProblemCode.UPDATE_NOT_FOUND,
            f"this host has no such update: {names}; list them, or scan the host if they are new",
            extra={"missing": unknown},
        )
    if ambiguous:
        raise ProblemError(
            ProblemCode.PACKAGE_AMBIGUOUS,
            f"name the architecture or manager too: {', '.join(one['name'] for one in ambiguous[:10])}",
            extra={"missing": ambiguous},
        )
    return list(chosen.values())


def _fitting(by_name: dict[str, list[UpdateRow]], one: str | Package) -> list[UpdateRow]:
    if isinstance(one, str):
        named = by_name.get(one, [])
        name, colon, arch = one.rpartition(":")
        if named or not colon:
            return named
        return [row for row in by_name.get(name, []) if row.package.arch == arch]
    return [
        row
        for row in by_name.get(one.name, [])
        if one.manager in (None, row.package.manager)
        and one.arch in (None, row.package.arch)
        and one.version in (None, row.package.candidate)
    ]


def _name(one: str | Package) -> str:
    return one if isinstance(one, str) else one.name


def _shown(one: str | Package, by_name: dict[str, list[UpdateRow]]) -> dict[str, Any]:
    if isinstance(one, str):
        return {"name": one}
    candidates = [_exact(row) for row in by_name.get(one.name, [])]
    return {**one.model_dump(exclude_none=True), "candidates": candidates}


def _exact(row: UpdateRow) -> dict[str, Any]:
    package = row.package
    return {
        "name": package.name,
        "manager": package.manager,
        "arch": package.arch,
        "version": package.candidate,
    }
