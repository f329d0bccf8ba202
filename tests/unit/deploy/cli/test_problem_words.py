"""Problems of the API in the words of the command line."""

import pytest

from redflag.cli.problems import ApiProblemError


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("query/version_below: write a version such as 1.2.3", "--version-below: write a version such as 1.2.3"),
        ("query/state: Input should be 'active'", "--state: should be 'active'"),
        ("body/name: String should have at most 64 characters", "name: should have at most 64 characters"),
        ("path/host: String should have at most 256 characters", "host: should have at most 256 characters"),
        ("body/set/" + "x" * 3000 + ": more than 256 characters", "set " + "x" * 76 + "...: more than 256 characters"),
        ("body: say one of hosts, filter and all", "say one of hosts, filter and all"),
        ("not a place: at all", "not a place: at all"),
    ],
)  # fmt: skip
def test_a_misfit_names_what_a_person_wrote(detail: str, said: str) -> None:
    error = ApiProblemError(422, {"code": "invalid_request", "detail": detail})
    assert error.message == f"{said} (invalid_request)"


def test_what_is_not_found_is_looked_for_with_a_command() -> None:
    error = ApiProblemError(
        404, {"code": "group_not_found", "detail": "no group has the id or name 'a'; GET /groups lists them"}
    )
    assert error.message == "no group has the id or name 'a' (group_not_found)"
    assert error.hints == ("redflag groups list",)
