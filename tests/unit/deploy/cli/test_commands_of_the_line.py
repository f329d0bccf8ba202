"""Each command against a stand-in: what it sends, what it prints, how it ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redflag.cli import tokens
from redflag_dashboard.models import tokens as bounds
from tests.unit.deploy.cli.conftest import Cli
from tests.unit.deploy.cli.stand_in import (
    COMMAND_ID,
    DIGEST,
    HOST_ID,
    StandIn,
    a_change,
    a_command,
    a_host,
    a_plan,
    a_plan_entry,
    an_update,
)


def test_json_is_the_answer_as_it_came(cli: Cli, server: StandIn) -> None:
    page = {"items": [{"z": 1, "a": {"new_field": "é"}}], "next": None, "total": 1, "later": [1]}
    server.answer("GET /hosts", page)
    ended = cli("hosts", "list", "--format", "json")
    assert (ended.code, ended.json) == (0, page)


def test_a_hostile_host_name_does_nothing(cli: Cli, server: StandIn) -> None:
    server.page("GET /hosts", a_host(hostname="[red]\x1b]0;x\x07\nweb"))
    server.host("x", hostname="a\x1b[2J", tags={"a\x1b": "\u202e"})
    for arguments in (("hosts", "list"), ("hosts", "show", "x")):
        ended = cli(*arguments)
        assert ended.code == 0
        assert "\x1b" not in ended.out
        assert "\u202e" not in ended.out
    assert "[red]\\x1b]0;x\\x07\\x0aweb" in cli("hosts", "list").out


def test_a_host_says_whether_it_can_install(cli: Cli, server: StandIn) -> None:
    server.host("web-04")
    out = cli("hosts", "show", "web-04").out
    assert "scans only: not root" in out
    assert "from package lists 2 h old" in out
    assert "env=test" in out


def test_filters_are_sent(cli: Cli, server: StandIn) -> None:
    server.page("GET /hosts", a_host())
    server.page("GET /updates", an_update(), counts={})
    server.page("GET /commands", a_command())
    server.page("GET /events")
    server.page("GET /history")
    server.page("GET /enrollment-tokens")
    cli("hosts", "list", "--q", "web", "--state", "active")
    cli("updates", "list", "web-04", "--state", "approved", "--security", "--name", "ssl")
    cli("commands", "list", "--host", "web-04", "--kind", "scan", "--state", "running", "--pending")
    cli("commands", "list", "--ended")
    cli("events", "list", "--host", "web-04", "--severity", "error", "--code", "x")
    cli("history", "web-04", "--kind", "scan")
    cli("tokens", "list", "--active")
    queries = [{k: v for k, v in one.query.items() if k != "limit"} for one in server.asked]
    assert queries == [
        {"q": "web", "state": "active"},
        {"host": "web-04", "state": "approved", "security": "true", "name": "ssl"},
        {"host": "web-04", "kind": "scan", "state": "running", "pending": "true"},
        {"pending": "false"},
        {"host": "web-04", "severity": "error", "code": "x"},
        {"host": "web-04", "kind": "scan"},
        {"active": "true"},
    ]


def test_no_updates_is_an_answer(cli: Cli, server: StandIn) -> None:
    server.page("GET /updates", counts={})
    server.answer("GET /hosts/web-04", a_host())
    server.page("GET /hosts")
    assert "No updates pending, last scan" in cli("updates", "list", "web-04").err
    assert "redflag tokens create" in cli("updates", "list").err
    assert "No update matches" in cli("updates", "list", "--security").err
    assert cli("updates", "list").out == ""


def test_a_held_update_says_so(cli: Cli, server: StandIn) -> None:
    server.page("GET /updates", an_update(availability="kept_back"), counts={})
    assert "pending (kept back)" in cli("updates", "list").out


def test_approving_says_one_of_three(cli: Cli, server: StandIn) -> None:
    answer = {"host_id": HOST_ID, "hostname": "web-04", "approved": [an_update(state="approved")],
              "already_approved": 2, "count": 1, "hosts": 1, "busy": 0, "intent_ids": []}  # fmt: skip
    server.answer("POST /updates/approve", answer)
    ended = cli("updates", "approve", "web-04", "alpha", "beta:i386=2")
    assert (ended.code, ended.err.splitlines()[0]) == (0, "1 approved, 2 had been before.")
    cli("updates", "approve", "web-04", "--all")
    cli("updates", "approve", "web-04", "--security")
    for wrong in ((), ("alpha", "--all"), ("--all", "--security")):
        assert cli("updates", "approve", "web-04", *wrong).code == 2
    assert server.bodies("POST /updates/approve") == [
        {"host": "web-04", "packages": [{"name": "alpha"}, {"name": "beta", "arch": "i386", "version": "2"}]},
        {"host": "web-04", "all": True},
        {"host": "web-04", "security": True},
    ]


def test_scan_follows_the_same_scan_that_is_under_way_only_when_waiting(cli: Cli, server: StandIn) -> None:
    server.problem("POST /hosts/web-04/scan", 409, "already_pending", existing=a_command())
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("succeeded", summary={"text": "3 updates"}))
    assert cli("scan", "web-04").code == 6
    ended = cli("scan", "web-04", "--wait")
    assert ended.code == 0
    assert "3 updates" in ended.out
    assert cli("scan", "web-04", "apt", "--wait").code == 6  # another scan than the one under way
    assert server.bodies("POST /hosts/web-04/scan")[0] == {"subsystem": "all", "refresh": True}
    cli("scan", "web-04", "--no-refresh")
    assert server.bodies("POST /hosts/web-04/scan")[-1]["refresh"] is False


@pytest.mark.parametrize(
    "arguments",
    [("scan", "web-04"), ("updates", "plan", "web-04"), ("updates", "install", "web-04", "--yes"),
     ("commands", "show", COMMAND_ID)],
)  # fmt: skip
@pytest.mark.parametrize("wait", [("--wait",), ()])
def test_a_wrong_timeout_is_refused_before_anything_is_asked(
    cli: Cli, server: StandIn, arguments: tuple[str, ...], wait: tuple[str, ...]
) -> None:
    ended = cli(*arguments, *wait, "--timeout", "0")
    assert (ended.code, server.asked) == (2, [])
    assert "--timeout 0" in ended.err


def test_a_host_name_with_a_slash_stays_in_its_place(cli: Cli, server: StandIn) -> None:
    server.answer("GET /hosts/a/b", a_host())
    cli("hosts", "show", "a/b", "--format", "json")
    assert server.asked[0].path == "/hosts/a/b"  # decoded by the server after routing; sent as %2F
    assert cli("hosts", "show", "..").code == 2
    assert len(server.asked) == 1


def test_a_plan_is_shown_after_waiting(cli: Cli, server: StandIn) -> None:
    server.answer("POST /updates/plan", a_command(kind="dry_run_update"))
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("succeeded", "dry_run_update", plan_digest=DIGEST))
    entry = a_plan_entry(needs_confirmation=True)
    plan = a_plan(a_change("alpha"), a_change("gone", "remove", asked=False), entry=entry)
    server.answer(f"GET /plans/{DIGEST}", plan)
    ended = cli("updates", "plan", "web-04", "--wait")
    assert ended.code == 0
    assert ended.out.index("gone:amd64") < ended.out.index("alpha:amd64")
    assert "redflag updates confirm web-04" in ended.err
    assert cli("updates", "plan", "web-04", "--wait", "--format", "json").json == plan
    assert server.bodies("POST /updates/plan") == [{"host": "web-04", "mode": "packages"}] * 2
    assert cli("updates", "plan", "web-04").code == 0
    assert "redflag commands show" in cli("updates", "plan", "web-04").err


def test_a_plan_for_a_host_that_only_looks_leads_to_no_installation(cli: Cli, server: StandIn) -> None:
    server.answer("POST /updates/plan", a_command(kind="dry_run_update"))
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("succeeded", "dry_run_update", plan_digest=DIGEST))
    entry = a_plan_entry(cannot_install="the helper does not run as root")
    server.answer(f"GET /plans/{DIGEST}", a_plan(a_change("alpha"), entry=entry))
    ended = cli("updates", "plan", "web-04", "--wait")
    assert ended.code == 0
    assert "This host only looks: the helper does not run as root." in ended.err
    assert "Next:" not in ended.err


def test_a_host_that_cannot_plan_ends_with_one(cli: Cli, server: StandIn) -> None:
    server.answer("POST /updates/plan", a_command(kind="dry_run_update"))
    server.answer(
        f"GET /commands/{COMMAND_ID}", a_command("failed", error="E: unmet dependencies", code="unmet")
    )
    ended = cli("updates", "plan", "web-04", "--wait")
    assert ended.code == 1
    assert "unmet dependencies" in ended.out


def test_confirm_takes_the_newest_plan_or_the_one_named(cli: Cli, server: StandIn) -> None:
    old = "sha256:" + "cd" * 32
    newest, older = a_plan_entry(), a_plan_entry(digest=old, newest=False)
    server.page("GET /plans", newest, older)
    server.answer(f"GET /plans/{DIGEST}", a_plan(a_change("alpha")))
    server.answer(f"GET /plans/{old}", a_plan(a_change("alpha"), digest=old, entry=older))
    server.answer(f"POST /plans/{DIGEST}/confirm", a_plan_entry(confirmed_by="eve"))
    server.problem(f"POST /plans/{old}/confirm", 409, "plan_outdated")
    ended = cli("updates", "confirm", "web-04")
    assert (ended.code, "alpha:amd64" in ended.out, "Confirmed." in ended.out) == (0, True, True)
    assert server.bodies(f"POST /plans/{DIGEST}/confirm") == [{"host": HOST_ID}]
    assert cli("updates", "confirm", "web-04", "cdcdcdcd").code == 6
    assert cli("updates", "confirm", "web-04", "cdcd").code == 3  # too short to mean one
    assert cli("updates", "confirm", "web-04", "ffffffffff").code == 3


def test_confirm_does_not_guess_between_package_managers(cli: Cli, server: StandIn) -> None:
    other = a_plan_entry(digest="sha256:" + "cd" * 32, manager="dnf")
    server.page("GET /plans", a_plan_entry(), other)
    ended = cli("updates", "confirm", "web-04")
    assert ended.code == 6
    assert "(dnf)" in ended.err


def test_a_command_is_shown_with_its_timeline_and_output(cli: Cli, server: StandIn) -> None:
    event = {"at": "2026-03-01T12:00:00.123Z", "host_at": None, "from_state": None, "to_state": "requested",
             "cause": "asked", "detail": {"by": "eve\x1b[1m", "letter": "a", "report": "r1"}}  # fmt: skip
    shown = a_command("failed", code="apt_failed", error="E: \x1b[31mno", stdout="Reading...\n\x1b[2Jdone\n",
                      stderr="W: x\r\n", exit_code=100, duration_ms=1500, events=[event])  # fmt: skip
    server.answer(f"GET /commands/{COMMAND_ID}", shown)
    ended = cli("commands", "show", COMMAND_ID)
    assert ended.code == 0  # it was shown; --wait makes the exit code the command's
    assert "2026-03-01 12:00:00.123 UTC" in ended.out
    assert "Reading...\n\\x1b[2Jdone" in ended.out
    assert "by eve\\x1b[1m" in ended.out
    assert "letter" not in ended.out
    assert "\x1b" not in ended.out
    assert cli("commands", "show", COMMAND_ID, "--wait").code == 1
    assert cli("commands", "show", COMMAND_ID, "--format", "json").json == shown


def test_the_envelope_is_alone_or_refused(cli: Cli, server: StandIn) -> None:
    server.answer(f"GET /commands/{COMMAND_ID}", a_command("signed", envelope="eyJ9"))
    assert cli("commands", "show", COMMAND_ID, "--envelope").out == "eyJ9\n"
    assert cli("commands", "show", COMMAND_ID, "--envelope", "--format", "json").code == 2


def test_history_is_one_line_each(cli: Cli, server: StandIn) -> None:
    line = {**a_command("succeeded"), "text": "Upgraded alpha\n\x1b[2J 1.0 -> 2.0", "command_id": COMMAND_ID,
            "finished_at": None}  # fmt: skip
    server.page("GET /history", line, line)
    out = cli("history").out
    assert len(out.splitlines()) == 3
    assert "Upgraded alpha\\x0a\\x1b[2J 1.0 -> 2.0" in out


def a_token(**columns: Any) -> dict[str, Any]:
    return {"id": "abcdefghij", "active": True, "seats": 1, "used": 0, "expires_at": "2026-03-02T12:00:00Z",
            "revoked_at": None, "created_at": "2026-03-01T12:00:00Z", "created_by": "admin", "note": None,
            "tags": {}, **columns}  # fmt: skip


def test_a_token_s_line_is_all_of_standard_output(cli: Cli, server: StandIn) -> None:
    made = a_token(token="rfe1_secret", install="redflag-agent enroll --token rfe1_secret")
    server.answer("POST /enrollment-tokens", made, 201)
    ended = cli(
        "tokens", "create", "--seats", "2", "--expires", "2h", "--note", "n", "--tag", "a=b", "--tag", "c=d"
    )
    assert ended.out == "redflag-agent enroll --token rfe1_secret\n"
    assert server.bodies("POST /enrollment-tokens") == [
        {"seats": 2, "expires_in_s": 7200, "note": "n", "tags": {"a": "b", "c": "d"}}
    ]
    assert cli("tokens", "create", "--format", "json").json == made
    assert cli("tokens", "create", "--tag", "nonsense").code == 2


def test_a_token_whose_secret_was_lost_is_no_success(cli: Cli, server: StandIn) -> None:
    server.answer("POST /enrollment-tokens", a_token(token=None, install=None), 201)
    assert cli("tokens", "create").code == 6


def test_tokens_say_why_they_let_nobody_in(cli: Cli, server: StandIn) -> None:
    server.page(
        "GET /enrollment-tokens", a_token(), a_token(active=False, used=1), a_token(active=False),
        a_token(active=False, revoked_at="2026-03-01T12:00:00Z"),
    )  # fmt: skip
    lines = cli("tokens", "list").out.splitlines()[1:]
    states = [line.split("  ")[1].strip() for line in lines]
    assert states == ["active", "used up", "expired", "revoked"]


def test_doctor_goes_on_after_a_failure(cli: Cli, server: StandIn, tmp_path: Path) -> None:
    server.answer(
        "GET /info", {"name": "redflag", "version": "0.1.0", "api": "/api/v1", "time": "2001-01-01T00:00:00Z"}
    )
    server.problem("GET /hosts", 401, "unauthenticated")
    ended = cli("doctor", "--format", "json")
    verdicts = {one["what"]: one["verdict"] for one in ended.json["checks"]}
    assert ended.code == 1
    assert verdicts["API"] == "ok"
    assert verdicts["clock"] == verdicts["API key"] == verdicts["programs"] == "failed"
    (tmp_path / "data" / "secrets").mkdir()
    (tmp_path / "data" / "secrets" / "admin.key").write_text("x")
    (tmp_path / "data" / "up.json").write_text(json.dumps({"ports": {"ops-gateway": int(server.url[-5:])}}))
    shown = cli("doctor").out
    assert "gateway" in shown
    assert "disk" in shown


def test_doctor_without_a_server_says_where_it_looked(bare_cli: Cli, tmp_path: Path) -> None:
    ended = bare_cli("doctor", "--data", str(tmp_path / "none"))
    assert ended.code == 1
    assert "cli.json" in ended.out


def test_doctor_does_not_advise_the_doctor_when_the_server_is_down(
    cli: Cli, server: StandIn, tmp_path: Path
) -> None:
    server.problem("GET /info", 503, "database_unavailable")
    there = tmp_path / "data" / "cli.json"
    assert "redflag doctor" not in cli("doctor").out
    there.write_text(there.read_text().replace(server.url, "http://127.0.0.1:1"))
    ended = cli("doctor")
    assert ended.code == 1
    assert "redflag up" in ended.out
    assert "redflag doctor" not in ended.out


def test_what_is_no_id_is_no_command(cli: Cli, server: StandIn) -> None:
    ended = cli("commands", "show", "nosuch")
    assert (ended.code, server.asked) == (3, [])
    assert "no command has the id 'nosuch'; ids are UUIDs" in ended.err
    assert "redflag commands list" in ended.err


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [("--expires", "1s", "60s to 7d"), ("--expires", "5000d", "60s to 7d"), ("--seats", "0", "1 to 10000"),
     ("--seats", "10001", "1 to 10000")],
)  # fmt: skip
def test_a_token_s_bounds_are_said_in_the_words_of_the_options(
    cli: Cli, server: StandIn, option: str, value: str, bounds: str
) -> None:
    ended = cli("tokens", "create", option, value)
    assert (ended.code, server.asked) == (2, [])
    assert f"{option} {value}: goes from {bounds}" in ended.err


def test_a_token_s_bounds_are_the_api_s() -> None:
    assert (tokens.SEATS_MAX, tokens.LIFE_MIN_S, tokens.LIFE_MAX_S) == (
        bounds.SEATS_MAX,
        bounds.LIFE_MIN_S,
        bounds.LIFE_MAX_S,
    )


def test_a_schema_s_words_do_not_reach_a_person(cli: Cli, server: StandIn) -> None:
    fault = {"where": "query/cursor", "message": "not a cursor of this list"}
    server.problem("GET /hosts", 422, "invalid_request", "query/cursor: not a cursor", errors=[fault])
    server.problem("GET /events", 422, "invalid_request", "query/severity: Input should be 'debug'")
    ended = cli("hosts", "list", "--cursor", "garbage")
    assert ended.code == 2
    assert "--cursor garbage: not a place in this list" in ended.err
    assert "query/" not in ended.err
    ended = cli("events", "list", "--severity", "x")
    assert (ended.code, "--severity: should be 'debug'" in ended.err) == (2, True)


def test_an_answer_that_lacks_a_field_is_one_line_and_no_stack(cli: Cli, server: StandIn) -> None:
    server.page("GET /hosts", {"hostname": "x"})
    ended = cli("hosts", "list")
    assert ended.code == 1
    assert "this should not happen: KeyError" in ended.err


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "unauthenticated", 5), (403, "scope_missing", 5), (404, "host_not_found", 3), (409, "host_ambiguous", 6),
     (422, "invalid_request", 2), (500, "internal", 4), (503, "database_unavailable", 4)],
)  # fmt: skip
def test_each_problem_ends_as_documented(
    cli: Cli, server: StandIn, status: int, code: str, exit_code: int
) -> None:
    server.problem("GET /hosts/web-04", status, code, "so it is; GET /hosts lists them", correlation_id="op1")
    ended = cli("hosts", "show", "web-04", "--format", "json")
    assert ended.code == exit_code
    assert ended.out == ""
    assert ended.err.startswith("redflag: so it is")
    assert code in ended.err


def test_every_command_has_help_with_the_exit_codes(bare_cli: Cli) -> None:
    for arguments in (
        (), ("hosts",), ("hosts", "list"), ("hosts", "show"), ("scan",), ("updates",), ("updates", "list"),
        ("updates", "approve"), ("updates", "plan"), ("updates", "confirm"), ("updates", "install"),
        ("commands", "list"), ("commands", "show"), ("history",), ("tokens", "create"), ("tokens", "list"),
        ("events", "list"), ("broker", "check"), ("doctor",),
    ):  # fmt: skip
        ended = bare_cli(*arguments, "--help")
        assert ended.code == 0
        assert "Exit codes" in ended.out, arguments
        if arguments and arguments[-1] not in ("hosts", "updates"):
            assert "--data" in ended.out
            assert "--format" in ended.out


def test_starting_up_loads_no_http_client() -> None:
    code = (
        "import sys; from cyclopts import App; from redflag.cli.app import register; a = App(); register(a)\n"
        "import redflag.cli.hosts, redflag.cli.updates, redflag.cli.install, redflag.cli.commands\n"
        "sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
