"""Which versions packages are to return to. Pure; taken from what commands changed on this very host.

Nothing is guessed: a package RedFlag never changed there, or a version it never replaced there, is refused by name.
"""

from collections.abc import Sequence
from typing import Any

from redflag_dashboard.models.updates import Package
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_store.tables import UpdateHistory


def versions_to_return_to(
    history: Sequence[UpdateHistory], wanted: Sequence[str | Package], hostname: str
) -> tuple[str, list[tuple[str, str, str]]]:
    """The package manager, and (name, architecture, version) of each package meant.

    Args:
        history: successful changes from one version to another, newest first.
        wanted: names (as `name` or `name:arch`) or packages; a version is the one to return to.
        hostname: for messages.

    Raises:
        ProblemError: `update_not_found`, `package_ambiguous`, `manager_ambiguous`.
    """
    chosen: dict[tuple[str, str, str], str] = {}
    missing: list[dict[str, Any]] = []
    for one in wanted:
        package = Package(name=one) if isinstance(one, str) else one
        fitting = _fitting(history, package)
        keys = {(row.manager, row.name, row.arch) for row in fitting}
        if len(keys) > 1:
            raise ProblemError(
                ProblemCode.PACKAGE_AMBIGUOUS,
                f"name the architecture or manager of {package.name} too",
                extra={
                    "missing": [{"manager": key[0], "name": key[1], "arch": key[2]} for key in sorted(keys)]
                },
            )
        found = next((row for row in fitting if package.version in {None, row.old_version}), None)
        if found is None:
            known = [row.old_version for row in fitting]
            missing.append({**package.model_dump(exclude_none=True), "versions": known})
        else:
            chosen[found.manager, found.name, found.arch] = found.old_version or ""
    if missing:
        names = ", ".join(one["name"] for one in missing[:10])
        raise ProblemError(
            ProblemCode.UPDATE_NOT_FOUND,
            f"no command changed {names} on {hostname} from such a version, so there is nothing to return to; "
            "its history says what was",
            extra={"missing": missing},
        )
    managers = sorted({key[0] for key in chosen})
    if len(managers) > 1:
        raise ProblemError(
            ProblemCode.MANAGER_AMBIGUOUS,
            f"name one as manager: {', '.join(managers)}; a plan is of one package manager",
            extra={"managers": managers},
        )
    return managers[0], [(name, arch, version) for (_, name, arch), version in chosen.items()]


def _fitting(history: Sequence[UpdateHistory], package: Package) -> list[UpdateHistory]:
    exact = [
        row
        for row in history
        if row.name == package.name
        and package.arch in {None, row.arch}
        and package.manager in {None, row.manager}
    ]
    name, colon, arch = package.name.rpartition(":")
    if exact or not colon:
        return exact
    return [row for row in history if row.name == name and row.arch == arch]
