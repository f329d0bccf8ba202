from typing import Any

import pytest

from redflag_dashboard.capabilities import NO_REASON, managers, why_no_install

APT = {"manager": "apt", "can_install": False, "reason": "not root"}
DNF = {"manager": "dnf", "can_install": True, "reason": None}


def test_the_managers_of_a_host_are_named_once_and_sorted() -> None:
    assert managers([DNF, APT, APT, "odd", {"manager": None}]) == ["apt", "dnf"]
    assert managers([]) == []


@pytest.mark.parametrize(
    ("capabilities", "manager", "reason"),
    [
        ([APT, DNF], "apt", "not root"),
        ([APT, DNF], "dnf", None),
        ([], "apt", None),
        ([DNF], "apt", None),
        ([{**APT, "reason": None}], "apt", NO_REASON),
        (["odd"], "apt", None),
    ],
)
def test_only_a_host_that_says_so_installs_nothing(
    capabilities: list[Any], manager: str, reason: str | None
) -> None:
    assert why_no_install(capabilities, manager) == reason
