"""Which updates an operator means."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from redflag_dashboard.models.updates import Package
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.selection import select
from redflag_store.queries.updates import UpdateRow
from redflag_store.tables import PackageState

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def row(name: str, arch: str = "amd64", manager: str = "apt", candidate: str = "2.0") -> UpdateRow:
    package = PackageState(
        agent_id=UUID(int=1), manager=manager, name=name, arch=arch, candidate=candidate, first_seen_at=NOW,
        changed_at=NOW,
    )  # fmt: skip
    return UpdateRow(package, "web-04")


ROWS = [row("alpha"), row("alpha", "i386"), row("beta"), row("snapd", manager="snap"), row("snapd")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("beta", ("apt", "beta", "amd64")),
        ("alpha:i386", ("apt", "alpha", "i386")),
        (Package(name="snapd", manager="snap"), ("snap", "snapd", "amd64")),
        (Package(name="beta", version="2.0"), ("apt", "beta", "amd64")),
    ],
)
def test_a_name_that_fits_one_update_is_that_one(
    wanted: str | Package, expected: tuple[str, str, str]
) -> None:
    (chosen,) = select(ROWS, [wanted])
    assert (chosen.package.manager, chosen.package.name, chosen.package.arch) == expected


def test_an_update_named_twice_is_chosen_once() -> None:
    assert len(select(ROWS, ["beta", Package(name="beta")])) == 1


@pytest.mark.parametrize("wanted", ["alpha", "snapd", Package(name="alpha")])
def test_a_name_that_fits_several_is_refused(wanted: str | Package) -> None:
    with pytest.raises(ProblemError) as caught:
        select(ROWS, ["beta", wanted])
    assert caught.value.code is ProblemCode.PACKAGE_AMBIGUOUS
    assert len(caught.value.extra["missing"][0]["choices"]) == 2


@pytest.mark.parametrize(
    "wanted",
    [
        "nope",
        "beta:i386",
        "BETA",
        ":",
        "",
        Package(name="beta", version="1.9"),
        Package(name="beta", manager="dnf"),
    ],
)
def test_a_name_that_fits_none_is_refused_and_named(wanted: str | Package) -> None:
    with pytest.raises(ProblemError) as caught:
        select(ROWS, ["beta", wanted])
    assert caught.value.code is ProblemCode.UPDATE_NOT_FOUND
    assert len(caught.value.extra["missing"]) == 1
