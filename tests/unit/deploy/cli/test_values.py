"""The pure parts: durations, packages, tags, words, problems, the broker's address."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from redflag.cli.api_values import host_named, query_texts, segment
from redflag.cli.exit_codes import HELP, ExitCode
from redflag.cli.local_parts import find_broker, ops_urls, read_ports
from redflag.cli.options import parse_duration
from redflag.cli.packages import is_exactly, parse_package, parse_packages
from redflag.cli.problems import ApiProblemError, CliError, UsageRefusedError, exit_code_of
from redflag.cli.tokens import parse_tags
from redflag.cli.words import ago, counted, duration, exact, size, took
from redflag.up.data_dir import DataDir

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), (" 1h ", 3600)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text, "--x") == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "1.5h", "h", "1w", "soon", "1h30m", "9" * 30, "٣h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageRefusedError, match="--x"):
        parse_duration(text, "--x")


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("openssl", {"name": "openssl"}),
        ("openssl:amd64", {"name": "openssl", "arch": "amd64"}),
        ("openssl=1:3.0-1~deb12u1", {"name": "openssl", "version": "1:3.0-1~deb12u1"}),
        ("openssl:i386=3.0", {"name": "openssl", "arch": "i386", "version": "3.0"}),
        ("nginx:1.27", {"name": "nginx:1.27"}),
        ("ghcr.io/a/b:latest", {"name": "ghcr.io/a/b:latest"}),
    ],
)
def test_packages_are_read(text: str, package: dict[str, str]) -> None:
    assert parse_package(text) == package
    assert parse_package(text, "apt") == {**package, "manager": "apt"}


@pytest.mark.parametrize("text", ["", "=1", "a=", ":amd64="])
def test_what_is_no_package_is_refused(text: str) -> None:
    with pytest.raises(UsageRefusedError):
        parse_package(text)


def test_a_plan_is_of_exactly_the_packages_asked_for() -> None:
    request = [{"name": "a", "arch": "amd64", "version": "2"}, {"name": "b", "arch": "i386", "version": "3"}]
    assert is_exactly(parse_packages(["b", "a"]), request)
    assert is_exactly(parse_packages(["a:amd64=2", "b=3", "b=3"]), request)
    assert not is_exactly(parse_packages(["a"]), request)
    assert not is_exactly(parse_packages(["a", "b", "c"]), request)
    assert not is_exactly(parse_packages(["a", "b:amd64"]), request)
    assert not is_exactly(parse_packages(["a=1", "b"]), request)
    # Two ways to write one package do not stand for two of them.
    assert not is_exactly(parse_packages(["a", "a:amd64"]), request)


def test_tags_are_read_and_refused() -> None:
    assert parse_tags(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    for wrong in (["a"], ["=b"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(UsageRefusedError):
            parse_tags(wrong)


def test_times_are_told_relative_and_exact() -> None:
    assert ago(None, NOW) == "never"
    assert ago("2026-03-01T11:48:00Z", NOW) == "12 min ago"
    assert ago("2026-03-01T12:00:00.400Z", NOW) == "now"
    assert ago("2026-03-03T13:00:00+00:00", NOW) == "in 2 d"
    assert ago("rubbish", NOW) == "rubbish"
    assert exact("2026-03-01T13:00:00.0129+01:00") == "2026-03-01 12:00:00.012 UTC"
    assert (exact(None), exact("rubbish")) == ("-", "rubbish")
    assert (duration(0.4), duration(59.9), duration(90), duration(7200)) == ("0 s", "59 s", "1 min", "2 h")
    assert (took(None), took(12), took(1500)) == ("-", "12 ms", "1.5 s")
    assert (size(None), size(0), size(1023), size(1536), size(2**41)) == (
        "-",
        "0 B",
        "1023 B",
        "1.5 KiB",
        "2.0 TiB",
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 5), (403, 5), (404, 3), (409, 6), (412, 6), (413, 2), (422, 2), (428, 6), (429, 4), (500, 4),
     (503, 4)],
)  # fmt: skip
def test_each_status_has_its_exit_code(status: int, code: int) -> None:
    assert exit_code_of(status) == code


def test_problems_say_what_to_do() -> None:
    pending = ApiProblemError(409, {"code": "already_pending", "detail": "it is", "existing": {"id": "c1"}})
    assert pending.hints == ("redflag commands show c1 --wait",)
    missing = [{"name": f"p{n}"} for n in range(8)]
    approve = ApiProblemError(409, {"code": "not_approved", "detail": "no", "missing": missing})
    assert "p0, p1, p2, p3, p4 and 3 more" in approve.hints[0]
    assert approve.hints[1] == "redflag updates approve HOST p0 p1 p2 p3 p4 p5 p6 p7"
    inside = ApiProblemError(500, {"code": "internal", "detail": "no", "correlation_id": "op1"})
    assert "op1" in inside.hints[0]
    assert ApiProblemError(502, {}).message == "the server answers 502 (502)"
    for odd in ({"code": "already_pending", "existing": 3}, {"code": "host_ambiguous", "hosts": "x"},
                {"code": 7, "detail": None}, {"code": "not_approved", "missing": [1, None]}):  # fmt: skip
        assert ApiProblemError(409, odd).exit_code is ExitCode.CONFLICT


def test_a_hint_can_be_typed_as_it_stands() -> None:
    def hints(code: str, host: str = "web 04", **members: object) -> tuple[str, ...]:
        return ApiProblemError(409, {"code": code, "detail": "no", **members}, host).hints

    assert hints("plan_outdated") == ("redflag updates plan 'web 04' --wait",)
    missing = [{"name": "a", "arch": "amd64"}, {"name": "b"}]
    assert hints("not_approved", missing=missing)[1] == "redflag updates approve 'web 04' a:amd64 b"
    many = [{"name": f"p{n}"} for n in range(21)]
    assert hints("not_approved", missing=many)[1] == "redflag updates list 'web 04'"
    assert hints("confirmation_required", missing=missing)[1] == "redflag updates confirm 'web 04'"
    assert hints("rate_limited", retry_after_s=7) == ("try again in 7 s",)


def test_the_host_a_request_is_about_is_found_in_it() -> None:
    assert host_named("/hosts/web%2004/scan", {}) == "web 04"
    assert host_named("/updates/plan", {"host": "web-04"}) == "web-04"
    assert host_named("/fleet", {}) is None
    assert host_named("/hosts", {"host": 3}) is None


def test_one_thing_is_counted_in_the_singular() -> None:
    assert [counted(n, "host") for n in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]
    assert counted(2, "dependency", "dependencies") == "2 dependencies"


def test_every_exit_code_is_in_the_help() -> None:
    for code in ExitCode:
        assert code is ExitCode.PIPE_CLOSED or f" {code.value} " in HELP


def test_path_segments_stay_one_segment() -> None:
    assert segment("a/b?c#d e") == "a%2Fb%3Fc%23d%20e"
    for nothing in ("", ".", ".."):
        with pytest.raises(UsageRefusedError):
            segment(nothing)
    assert query_texts({"a": None, "b": True, "c": 3, "d": ""}) == {"b": "true", "c": "3", "d": ""}


def test_the_broker_of_a_data_directory_is_found(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    ports = {"nats": 1, "nats-monitor": 2, "ops-gateway": 3, "ops-dashboard": 4}
    data.state_file.write_text(json.dumps({"ports": ports}))
    broker = find_broker(data, {})
    assert (broker.url, broker.monitor_url) == ("nats://127.0.0.1:1", "http://127.0.0.1:2")
    assert broker.seed_file == tmp_path / "secrets" / "dispatcher.nk"
    assert ops_urls(read_ports(data)) == {"gateway": "http://127.0.0.1:3", "dashboard": "http://127.0.0.1:4"}
    elsewhere = find_broker(
        data, {"REDFLAG_NATS_URL": "tls://x:4222", "REDFLAG_DISPATCHER_NATS_SEED_FILE": "/s"}
    )
    assert (elsewhere.url, elsewhere.seed_file, elsewhere.monitor_url) == ("tls://x:4222", Path("/s"), None)


@pytest.mark.parametrize("content", ["", "[]", '{"ports": 3}', '{"ports": {"nats": "x"}}', '{"ports": {}}'])
def test_a_data_directory_that_does_not_tell_is_an_error(tmp_path: Path, content: str) -> None:
    data = DataDir(tmp_path)
    data.state_file.write_text(content)
    with pytest.raises(CliError):
        find_broker(data, {})


def test_ages_are_measured_from_the_time_given() -> None:
    assert ago((NOW - timedelta(days=3)).isoformat(), NOW) == "3 d ago"
