"""Installing: which plan, whose confirmation, and what happens when somebody else is quicker."""

import sys
from typing import Any

import pytest

from tests.unit.deploy.cli.conftest import Cli
from tests.unit.deploy.cli.stand_in import (
    COMMAND_ID,
    DIGEST,
    HOST_ID,
    StandIn,
    a_change,
    a_command,
    a_plan,
    a_plan_entry,
)

OTHER = "sha256:" + "cd" * 32
INSTALL = "POST /updates/install"
CONFIRM = f"POST /plans/{DIGEST}/confirm"
ASK_PLAN = "POST /updates/plan"
MISSING = [{"name": "gone", "action": "remove"}]


def have_plan(server: StandIn, *items: dict[str, Any], **columns: Any) -> None:
    server.page("GET /plans", a_plan_entry())
    server.answer(f"GET /plans/{DIGEST}", a_plan(*(items or (a_change("alpha"),)), **columns))


def plan_anew(server: StandIn, digest: str = OTHER) -> None:
    """Let the host come to another plan."""
    server.answer(ASK_PLAN, a_command(kind="dry_run_update"))
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("succeeded", "dry_run_update", plan_digest=digest))
    entry = a_plan_entry(digest=digest)
    server.answer(f"GET /plans/{digest}", a_plan(a_change("alpha"), entry=entry, digest=digest))


def installed(server: StandIn) -> list[str]:
    return [one["plan_digest"] for one in server.bodies(INSTALL)]


@pytest.mark.parametrize("packages", [(), ("alpha",), ("alpha:amd64=2.0",)])
def test_the_current_plan_is_installed(cli: Cli, server: StandIn, packages: tuple[str, ...]) -> None:
    have_plan(server)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    ended = cli("updates", "install", "web-04", *packages)
    assert ended.code == 0
    assert server.bodies(INSTALL) == [{"host": HOST_ID, "plan_digest": DIGEST}]
    assert server.bodies(CONFIRM) == []
    assert server.bodies(ASK_PLAN) == []


@pytest.mark.parametrize("packages", [("beta",), ("alpha", "beta"), ("alpha=1.9",)])
def test_other_packages_are_planned_first(cli: Cli, server: StandIn, packages: tuple[str, ...]) -> None:
    have_plan(server)
    plan_anew(server)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    assert cli("updates", "install", "web-04", *packages).code == 0
    assert [one["name"] for one in server.bodies(ASK_PLAN)[0]["packages"]] == [
        one.partition("=")[0] for one in packages
    ]
    assert installed(server) == [OTHER]


def test_without_any_plan_the_approved_ones_are_planned(cli: Cli, server: StandIn) -> None:
    server.page("GET /plans")
    plan_anew(server)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    assert cli("updates", "install", "web-04").code == 0
    assert server.bodies(ASK_PLAN) == [{"host": "web-04", "mode": "packages"}]


def test_a_plan_that_was_carried_out_is_used_up(cli: Cli, server: StandIn) -> None:
    have_plan(server, last_install={"command_id": COMMAND_ID, "state": "failed"})
    plan_anew(server)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    assert cli("updates", "install", "web-04").code == 0
    assert installed(server) == [OTHER]


def test_more_than_was_asked_for_is_not_installed_by_a_script(cli: Cli, server: StandIn) -> None:
    have_plan(server, a_change("alpha"), a_change("gone", "remove", asked=False))
    server.problem(INSTALL, 409, "confirmation_required", missing=MISSING)
    for form in ((), ("--format", "json")):
        ended = cli("updates", "install", "web-04", "--wait", *form)
        assert ended.code == 6
        assert ended.out == ""
        assert f"redflag updates confirm web-04 {DIGEST}" in ended.err
        assert "gone" in ended.err
    assert server.bodies(CONFIRM) == []
    assert installed(server) == [DIGEST, DIGEST]


def test_yes_confirms_exactly_the_plan_installed(cli: Cli, server: StandIn) -> None:
    have_plan(server, a_change("alpha"), a_change("gone", "remove", asked=False))
    server.problem(INSTALL, 409, "confirmation_required", missing=MISSING)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    server.answer(CONFIRM, a_plan_entry(confirmed_by="admin"))
    assert cli("updates", "install", "web-04", "--yes").code == 0
    assert [f"{one.method} {one.path}" for one in server.asked if one.method == "POST"] == [
        INSTALL,
        CONFIRM,
        INSTALL,
    ]


class Person:
    """Somebody at a terminal."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("YES\n", 0), ("\n", 6), ("n\n", 6), ("", 6), ("yess\n", 6)]
)
def test_a_person_at_a_terminal_is_asked(
    cli: Cli, server: StandIn, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    have_plan(server, a_change("alpha"), a_change("gone", "remove", asked=False))
    server.problem(INSTALL, 409, "confirmation_required", missing=MISSING)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    server.answer(CONFIRM, a_plan_entry())
    monkeypatch.setattr(sys, "stdin", Person(answer))
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: stream is sys.stderr, raising=False)
    ended = cli("updates", "install", "web-04")
    assert ended.code == code
    assert "gone:amd64" in ended.err
    assert "Install exactly this on web-04? [y/N]" in ended.err
    assert len(server.bodies(CONFIRM)) == (1 if code == 0 else 0)


def test_an_outdated_plan_is_made_anew_once_and_confirmed_anew(cli: Cli, server: StandIn) -> None:
    have_plan(server)
    plan_anew(server)
    server.problem(INSTALL, 409, "plan_outdated")
    server.problem(INSTALL, 409, "confirmation_required", missing=MISSING)
    assert cli("updates", "install", "web-04").code == 6
    assert installed(server) == [DIGEST, OTHER]


def test_plans_that_stay_outdated_end(cli: Cli, server: StandIn) -> None:
    have_plan(server)
    plan_anew(server)
    server.problem(INSTALL, 409, "plan_outdated")
    assert cli("updates", "install", "web-04").code == 6
    assert installed(server) == [DIGEST, OTHER]


def test_waiting_ends_as_the_installation_did(cli: Cli, server: StandIn) -> None:
    have_plan(server)
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    server.answer(
        f"GET /commands/{COMMAND_ID}",
        a_command("failed", "install_updates", result="plan_drift", error="beta moved"),
    )
    ended = cli("updates", "install", "web-04", "--wait")
    assert ended.code == 1
    assert "beta moved" in ended.out


def test_the_same_installation_under_way_is_followed(cli: Cli, server: StandIn) -> None:
    have_plan(server)
    under_way = a_command("running", "install_updates", params={"plan_digest": DIGEST})
    server.problem(INSTALL, 409, "already_pending", existing=under_way)
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("succeeded", "install_updates"))
    assert cli("updates", "install", "web-04", "--wait").code == 0
    server.answers[INSTALL].clear()
    other = a_command("running", "install_updates", params={"plan_digest": OTHER})
    server.problem(INSTALL, 409, "already_pending", existing=other)
    assert cli("updates", "install", "web-04", "--wait").code == 6


def test_two_package_managers_are_not_guessed_between(cli: Cli, server: StandIn) -> None:
    dnf = a_plan_entry(digest=OTHER, manager="dnf")
    server.page("GET /plans", a_plan_entry(), dnf)
    server.answer(f"GET /plans/{DIGEST}", a_plan(a_change("alpha")))
    server.answer(f"GET /plans/{OTHER}", a_plan(a_change("alpha"), entry=dnf, digest=OTHER, manager="dnf"))
    server.answer(INSTALL, a_command(kind="install_updates"), 202)
    assert cli("updates", "install", "web-04").code == 6
    assert cli("updates", "install", "web-04", "--manager", "dnf").code == 0
    assert installed(server) == [OTHER]
