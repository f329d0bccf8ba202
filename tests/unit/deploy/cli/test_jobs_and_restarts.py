"""Jobs, restarts, cancelling and retrying on the command line: what is sent, said, and how it ends."""

import io
from typing import Any

import pytest

from redflag.cli import bulk
from redflag.cli.bulk import Hosts, confirm, selection
from redflag.cli.jobs import params_of
from redflag.cli.jobs_view import standing
from redflag.cli.options import Format
from redflag.cli.output import Output
from redflag.cli.problems import ConflictError, UsageRefusedError
from redflag.cli.reboot import delay_seconds
from redflag.cli.run import Session
from tests.unit.deploy.cli.conftest import Cli
from tests.unit.deploy.cli.stand_in import AT, COMMAND_ID, HOST_ID, StandIn, a_command, a_host

JOB_ID = "0198f000-0000-7000-8000-0000000000b1"
OTHER_ID = "0198f000-0000-7000-8000-0000000000c2"


def a_job(state: str = "running", **columns: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID, "op": HOST_ID, "kind": "scan", "params": {"subsystem": "all", "refresh": True},
        "left_out": [], "left_out_count": 0,
        "state": state, "ended": state in ("finished", "cancelled"), "requested_by": "admin",
        "requested_at": AT, "total": 3, "waiting": 3, "made": 0, "refused": 0, "commands": {}, "done": 0,
        "cancelled_by": None, "cancelled_at": None, "finished_at": None, **columns,
    }  # fmt: skip


def a_new_job(**columns: Any) -> dict[str, Any]:
    return {**a_job(), **columns}


def an_item(
    hostname: str, state: str = "made", command_state: str | None = "succeeded", **more: Any
) -> dict[str, Any]:
    return {
        "position": 1, "host_id": HOST_ID, "hostname": hostname, "state": state, "code": None, "reason": None,
        "tries": 0, "due_at": None, "command_id": COMMAND_ID if state == "made" else None,
        "command_state": command_state, "command_result": None, "command_code": None, "command_reason": None,
        "existing_id": None, "cancel_id": None,
        "decided_at": AT, **more,
    }  # fmt: skip


def test_a_scan_of_many_is_a_job(cli: Cli, server: StandIn) -> None:
    left_out = [
        {"host_id": HOST_ID, "hostname": "db-01", "code": "manager_unknown", "reason": "no such manager"}
    ]
    server.answer("POST /jobs", a_new_job(left_out=left_out, left_out_count=3), status=202)
    ended = cli("scan", "--group", "web", "--tag", "env=prod", "--subsystem", "apt")
    assert (ended.code, ended.out) == (0, f"Asked 3 hosts: job {JOB_ID}\n")
    assert "left out: db-01: no such manager" in ended.err
    assert "left out: 2 more hosts" in ended.err
    assert f"redflag jobs show {JOB_ID} --wait" in ended.err
    cli("scan", "--host", "a", "--host", "b", "--host", "a")
    cli("scan", "--all", "--full")
    bodies = server.bodies("POST /jobs")
    params = {"subsystem": "all", "refresh": True}
    assert bodies[0] == {
        "kind": "scan", "params": {"subsystem": "apt", "refresh": True},
        "filter": {"group": "web", "tag": "env=prod"},
    }  # fmt: skip
    assert bodies[1] == {"kind": "scan", "params": params, "hosts": ["a", "b"]}
    assert bodies[2] == {"kind": "scan", "params": {**params, "full": True}, "all": True}


def test_who_was_left_out_is_said_later_too(cli: Cli, server: StandIn) -> None:
    left_out = [{"host_id": HOST_ID, "hostname": "db-01", "code": "agent_too_old", "reason": "too old"}]
    server.answer(f"GET /jobs/{JOB_ID}", a_job(left_out=left_out, left_out_count=2))
    server.page(f"GET /jobs/{JOB_ID}/items")
    ended = cli("jobs", "show", JOB_ID)
    assert "left out: db-01: too old\nleft out: 1 more host\n" in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan",), ("scan", "web-04", "--all"), ("scan", "--all", "--host", "a"), ("scan", "--all", "--os", "x"),
        ("reboot", "--yes"), ("reboot", "web-04", "--group", "x", "--yes"),
        ("reboot", "web-04", "--delay", "2d", "--yes"), ("reboot", "web-04", "--delay", "soon", "--yes"),
        ("reboot", "web-04", "--reason", "x" * 201, "--yes"), ("reboot", "web-04", "--reason", "a\nb", "--yes"),
        ("jobs", "start", "scan"), ("jobs", "start", "scan", "--all", "--delay", "5m"),
        ("jobs", "start", "reboot", "--all", "--mode", "full", "--yes"),
        ("jobs", "start", "enable-heartbeat", "--all", "--for", "x"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    cli: Cli, server: StandIn, arguments: tuple[str, ...]
) -> None:
    ended = cli(*arguments)
    assert (ended.code, server.asked) == (2, []), ended


def test_a_restart_is_confirmed_or_refused(cli: Cli, server: StandIn) -> None:
    server.answer("GET /hosts/web-04", a_host())
    server.answer("POST /hosts/web-04/reboot", a_command(kind="reboot"), status=202)
    ended = cli("reboot", "web-04")  # no terminal, so nobody to be asked
    assert (ended.code, server.bodies("POST /hosts/web-04/reboot")) == (2, [])
    assert "This restarts web-04 after 1 min." in ended.err
    assert "--yes" in ended.err
    ended = cli("reboot", "web-04", "--yes", "--delay", "5m", "--reason", "new kernel")
    assert ended.code == 0
    assert server.bodies("POST /hosts/web-04/reboot") == [{"delay_s": 300, "reason": "new kernel"}]
    assert f"redflag commands show {COMMAND_ID} --wait" in ended.err
    server.page("GET /hosts", a_host(), a_host(hostname="web-05"))
    many = cli("reboot", "--os", "debian")
    assert (many.code, server.bodies("POST /jobs")) == (2, [])
    assert "This restarts 2 hosts after 1 min: web-04, web-05." in many.err
    assert server.asked[-1].query["state"] == "active"


def test_only_the_name_as_it_is_confirms() -> None:
    def typed(text: str) -> str:
        err = io.StringIO()
        session = Session(None, Output(io.StringIO(), err, Format.TABLE))  # type: ignore[arg-type]
        confirm(session, "This restarts web-04\x1b[2J.", "web-04", "its name", read=lambda: text)
        return err.getvalue()

    assert typed("web-04\n") == "This restarts web-04\\x1b[2J.\nType its name to go on: "
    for other in ("", "y\n", "web-0\n", "WEB-04\n"):
        with pytest.raises(ConflictError, match="not confirmed"):
            typed(other)


def test_a_restart_refused_by_the_host_says_so(cli: Cli, server: StandIn) -> None:
    server.answer("POST /hosts/web-04/reboot", a_command(kind="reboot"), status=202)
    refused = a_command(
        "rejected", "reboot", code="kind_policy", reason="the host's own policy does not allow this"
    )
    server.answer(f"GET /commands/{COMMAND_ID}", refused)
    ended = cli("reboot", "web-04", "--yes", "--wait")
    assert ended.code == 1
    assert "the host's own policy does not allow this (kind_policy)" in ended.out


def test_a_job_is_followed_to_its_end(cli: Cli, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redflag.cli.waiting.PAUSE_S", 0.01)
    moving = a_job(waiting=1, made=2, commands={"running": 1, "succeeded": 1}, done=1)
    ended_job = a_job(
        "finished",
        waiting=0,
        made=2,
        refused=1,
        commands={"succeeded": 1, "failed": 1},
        done=3,
        finished_at=AT,
    )
    server.answer(f"GET /jobs/{JOB_ID}", a_job())
    server.answer(f"GET /jobs/{JOB_ID}", moving)
    server.answer(f"GET /jobs/{JOB_ID}", ended_job)
    items = (
        an_item("web-01"),
        an_item(
            "web-02",
            command_state="failed",
            command_code="lock_held",
            command_reason="another holds the lock",
        ),
        an_item(
            "web-03", "refused", None, code="already_pending", reason="does it already", existing_id=OTHER_ID
        ),
    )
    server.page(f"GET /jobs/{JOB_ID}/items", *items)
    ended = cli("jobs", "show", JOB_ID, "--wait")
    assert ended.code == 1
    assert "scan: 1 of 3 hosts done: 1 succeeded, 1 running, 1 waiting" in ended.err
    assert "scan: 3 of 3 hosts done: 1 succeeded, 1 failed, 1 not asked" in ended.out
    assert "web-01" not in ended.out
    assert "web-02" in ended.out
    assert "another holds the lock" in ended.out
    line = next(line for line in ended.out.splitlines() if line.startswith("web-03"))
    assert OTHER_ID in line
    assert "does it already" in line
    assert "web-01" in cli("jobs", "show", JOB_ID, "--hosts").out
    shown = cli("jobs", "show", JOB_ID, "--hosts", "--format", "json").json
    assert [one["hostname"] for one in shown["items"]] == ["web-01", "web-02", "web-03"]


def test_a_job_that_went_well_ends_with_zero(cli: Cli, server: StandIn) -> None:
    server.answer("POST /jobs", a_new_job(total=1), status=202)
    done = a_job("finished", total=1, waiting=0, made=1, commands={"succeeded": 1}, done=1, finished_at=AT)
    server.answer(f"GET /jobs/{JOB_ID}", done)
    server.page(f"GET /jobs/{JOB_ID}/items", an_item("web-01"))
    ended = cli("jobs", "start", "collect-specs", "--host", "web-01", "--wait")
    assert ended.code == 0
    assert server.bodies("POST /jobs") == [{"kind": "collect_specs", "params": {}, "hosts": ["web-01"]}]
    assert "1 of 1 host done" in ended.out


def test_jobs_are_listed_and_stopped(cli: Cli, server: StandIn) -> None:
    server.page("GET /jobs", a_job(), a_job("cancelled"))
    out = cli("jobs", "list", "--kind", "collect-specs", "--state", "running").out
    assert len(out.splitlines()) == 3
    assert server.asked[0].query["kind"] == "collect_specs"
    server.answer(f"POST /jobs/{JOB_ID}/cancel", a_job("cancelling"), status=202)
    stopped = cli("jobs", "cancel", JOB_ID)
    assert (stopped.code, stopped.out) == (0, "Stopping: scan: 0 of 3 hosts done: 3 waiting\n")
    assert server.asked[-1].body is None
    assert cli("jobs", "show", "x").code == 3
    server.problem(f"POST /jobs/{JOB_ID}/cancel", 409, "job_ended")
    server.answers[f"POST /jobs/{JOB_ID}/cancel"].pop(0)
    assert cli("jobs", "cancel", JOB_ID).code == 6


def test_cancelling_and_retrying(cli: Cli, server: StandIn) -> None:
    cancel = a_command(kind="cancel", id=OTHER_ID, params={"cmd": COMMAND_ID})
    server.answer(f"POST /commands/{COMMAND_ID}/cancel", cancel, status=202)
    server.answer(
        f"GET /commands/{OTHER_ID}", {**cancel, "state": "failed", "ended": True, "code": "too_late"}
    )
    ended = cli("commands", "cancel", COMMAND_ID)
    assert (ended.code, ended.out) == (0, f"Asked: cancel on web-04, command {OTHER_ID}\n")
    assert server.asked[-1].body is None
    waited = cli("commands", "cancel", COMMAND_ID, "--wait")
    assert (waited.code, "too late" in waited.out) == (1, True)
    server.problem(f"POST /commands/{COMMAND_ID}/retry", 409, "already_retried", existing={"id": OTHER_ID})
    retried = cli("commands", "retry", COMMAND_ID)
    assert retried.code == 6
    assert f"redflag commands show {OTHER_ID} --wait" in retried.err
    assert cli("commands", "cancel", "x").code == 3


def test_a_command_shows_its_retries_and_its_cancel(cli: Cli, server: StandIn) -> None:
    shown = a_command(
        "cancelling", source="system", retry_of=OTHER_ID, retry_depth=2, retried_by=None, deliveries=3,
        cancel={"command_id": OTHER_ID, "state": "failed", "code": "too_late", "reason": "it goes on",
                "requested_by": "eve", "requested_at": AT},
    )  # fmt: skip
    server.answer(f"GET /commands/{COMMAND_ID}", shown)
    out = cli("commands", "show", COMMAND_ID).out
    assert f"Retry of    {OTHER_ID} (the 2nd retry)" in out
    assert f"failed: it goes on (by eve, command {OTHER_ID})" in out
    assert "RedFlag (admin)" in out
    assert "Deliveries  3" in out


def test_one_way_to_say_which_hosts() -> None:
    assert selection(Hosts(all_=True)) == {"all": True}
    assert selection(Hosts(under="node-1", os="debian")) == {"filter": {"under": "node-1", "os": "debian"}}
    assert selection(Hosts(needs_reboot=True)) == {"filter": {"reboot_required": True}}
    for wrong in (Hosts(), Hosts(all_=True, host=("a",)), Hosts(host=("a",), tag="x")):
        with pytest.raises(UsageRefusedError):
            selection(wrong)
    assert bulk.named(["a", "b"], 12) == "a, b and 10 more"
    assert bulk.named(["a"], 1) == "a"


def test_options_become_parameters() -> None:
    nothing = dict.fromkeys(("subsystem", "mode", "manager", "delay", "reason", "for"))
    assert params_of("scan", nothing) == {}
    assert params_of("plan", {**nothing, "mode": "security"}) == {"mode": "security"}
    assert params_of("reboot", {**nothing, "delay": "0"}) == {"delay_s": 0, "reason": ""}
    assert params_of("enable-heartbeat", nothing) == {"duration_s": None}
    assert params_of("enable-heartbeat", {**nothing, "for": "30m"}) == {"duration_s": 1800}
    assert (delay_seconds("0s"), delay_seconds("24h")) == (0, 86_400)


def test_progress_names_the_good_first() -> None:
    job = a_job(commands={"queued": 2, "failed": 1, "succeeded": 4}, waiting=0, total=7, done=5)
    assert standing(job) == "scan: 5 of 7 hosts done: 4 succeeded, 1 failed, 2 queued"
