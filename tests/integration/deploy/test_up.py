import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from redflag.embedded.processes import ProcessIdentity
from redflag.up.leftovers import find_marked
from redflag_wire.manifest_chain import verify_first
from tests.support.directories import open_directory
from tests.support.postgres import DatabaseUrl, PostgresServer

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60


@dataclass
class Up:
    base: Path
    environment: dict[str, str] = field(default_factory=dict)
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def ready_file(self) -> Path:
        return self.base / "ready.json"

    def launch(self, *options: str) -> "subprocess.Popen[str]":
        home = {"HOME": str(self.base), "XDG_CONFIG_HOME": str(self.base / "config")}
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.up_with_stand_ins",
                "up",
                f"--data={self.data}",
                f"--ready-file={self.ready_file}",
                "--no-agent",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **home, **self.environment},
        )
        self.processes.append(process)
        return process

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start and read what it says until it is ready."""
        process = self.launch("--api-port=0", "--gateway-port=0", *options)
        said = []
        for line in process.stderr or []:
            said.append(line)
            if "Ctrl-C" in line or '"up.ready"' in line:
                return process
        pytest.fail("".join(said))

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    def stop(self, process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> str:
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, said
        return said

    def living(self) -> list[int]:
        return [process.pid for process in find_marked(self.data)]


@pytest.fixture
def up() -> Iterator[Up]:
    with open_directory("up") as base:
        running = Up(base)
        try:
            yield running
        finally:
            for process in running.processes:
                if process.poll() is None:
                    process.terminate()
                process.communicate(timeout=DEADLINE_S)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.timeout(180)
def test_first_start_makes_everything_and_second_finds_it_again(up: Up) -> None:
    process = up.start()
    ready = up.ready()
    assert set(ready) >= {"gateway_url", "api_url", "ops_urls", "data_dir", "pids", "admin_secret_file"}
    assert set(ready["ops_urls"]) == {"dispatcher", "gateway", "dashboard"}
    assert set(ready["pids"]) == {"up", "postgres", "nats", "dispatcher", "gateway", "dashboard"}
    for url in ready["ops_urls"].values():
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            assert answer.status == 200
    assert Path(ready["admin_secret_file"]).read_text().startswith("rfk_")
    secrets = [*(up.data / "secrets").iterdir(), *(up.data / "keys").iterdir()]
    assert {mode(path) for path in secrets} == {0o600}
    assert {mode(up.data / name) for name in ("secrets", "keys", "logs", "nats", "postgres")} == {0o700}
    assert json.loads((up.data / "cli.json").read_text()) == {
        "api_url": ready["api_url"],
        "admin_key_file": ready["admin_secret_file"],
    }
    assert mode(up.data / "cli.json") == 0o600
    assert (up.base / "config" / "redflag" / "current").read_text().strip() == str(up.data)
    kept = {path.name: path.read_bytes() for path in secrets}

    up.stop(process)
    assert not up.ready_file.exists()
    assert up.living() == []

    process = up.start()
    again = up.ready()
    assert (again["api_url"], again["gateway_url"]) == (ready["api_url"], ready["gateway_url"])
    assert {path.name: path.read_bytes() for path in secrets} == kept
    up.stop(process, signal.SIGINT)


@pytest.mark.timeout(180)
def test_everything_killed_at_once_recovers_with_no_orphan(up: Up) -> None:
    process = up.start()
    before = up.ready()
    for pid in before["pids"].values():
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    process = up.start()
    after = up.ready()
    assert not set(before["pids"].values()) & set(after["pids"].values())
    assert after["api_url"] == before["api_url"]
    up.stop(process)
    assert up.living() == []


@pytest.mark.timeout(180)
def test_supervisor_killed_alone_leaves_no_orphan_behind_the_next_start(up: Up) -> None:
    process = up.start()
    before = up.ready()
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    process = up.start()
    assert up.ready_file.exists()
    for name, pid in before["pids"].items():
        assert ProcessIdentity.of(pid) is None, name
    up.stop(process)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("victim", ["postgres", "nats", "gateway"])
def test_program_killed_is_restarted_and_the_ready_file_follows(up: Up, victim: str) -> None:
    process = up.start("--log-format=json")
    before = up.ready()
    os.kill(before["pids"][victim], signal.SIGKILL)
    for line in process.stderr or []:
        if json.loads(line)["event"] == "program.restarted":
            break
    after = up.ready()
    changed = {name for name, pid in after["pids"].items() if before["pids"][name] != pid}
    assert changed == {victim}
    up.stop(process)


@pytest.mark.timeout(120)
def test_second_up_is_refused_in_one_line_and_changes_nothing(up: Up) -> None:
    process = up.start()
    second = up.launch()
    _, said = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 3
    assert len(said.splitlines()) == 1
    assert str(up.data) in said
    assert f"pid {process.pid}" in said
    assert up.ready_file.exists()
    up.stop(process)


@pytest.mark.timeout(120)
def test_program_that_does_not_stay_up_stops_everything_with_its_last_words(up: Up) -> None:
    up.environment["REDFLAG_STAND_IN_BROKEN"] = "gateway"
    process = up.launch("--api-port=0", "--gateway-port=0")
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "redflag up: gateway ended with exit code 1 and does not stay up" in said
    assert "gateway is broken" in said
    assert "Traceback" not in said
    assert up.living() == []
    assert not up.ready_file.exists()


@pytest.mark.timeout(120)
def test_console_shows_progress_and_warnings_only(up: Up) -> None:
    process = up.launch("--api-port=0", "--gateway-port=0")
    said = ""
    for line in process.stderr or []:
        said += line
        if "Ctrl-C" in line:
            break
    assert re.search(r"PostgreSQL ready \(\d+\.\d s\)", said)
    assert "warning: gateway: gateway.odd" in said
    assert "gateway.started" not in said
    assert "redflag updates list" in said
    assert str(up.data / "secrets" / "admin.key") in said
    up.stop(process)
    assert "gateway.started" in (up.data / "logs" / "gateway.log").read_text()


@pytest.mark.timeout(120)
def test_json_log_format_gives_one_record_a_line(up: Up) -> None:
    process = up.launch("--api-port=0", "--gateway-port=0", "--log-format=json")
    records = []
    for line in process.stderr or []:
        records.append(json.loads(line))
        if records[-1]["event"] == "up.ready":
            break
    assert {record["program"] for record in records} >= {"up", "postgres", "nats", "dispatcher", "gateway"}
    assert all({"level", "event"} <= record.keys() for record in records)
    for line in up.stop(process).splitlines():
        json.loads(line)


@pytest.mark.timeout(120)
def test_stop_during_the_start_ends_everything(up: Up) -> None:
    process = up.launch("--api-port=0", "--gateway-port=0")
    for line in process.stderr or []:
        if "PostgreSQL ready" in line:
            break
    up.stop(process)
    assert up.living() == []
    process = up.start()
    up.stop(process)


@pytest.mark.timeout(120)
def test_external_database_replaces_the_embedded_one(up: Up, empty_database: DatabaseUrl) -> None:
    up.environment["REDFLAG_DATABASE_URL"] = empty_database
    process = up.start()
    assert "postgres" not in up.ready()["pids"]
    assert not (up.data / "postgres").exists()
    up.stop(process)


@pytest.mark.timeout(120)
def test_failed_migration_stops_the_start_by_name_and_is_not_marked_applied(
    up: Up, empty_database: DatabaseUrl, postgres_server: PostgresServer
) -> None:
    # A table of that name in the way makes the second migration fail in the middle of its statements.
    postgres_server.run("CREATE TABLE command_event (id int)", database=empty_database.name)
    up.environment["REDFLAG_DATABASE_URL"] = empty_database
    process = up.launch("--api-port=0", "--gateway-port=0")
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    (failure,) = [line for line in said.splitlines() if line.startswith("redflag up:")]
    assert "0002" in failure
    assert "command_event" in failure
    assert "Traceback" not in said

    # Nothing of it was kept: with the cause gone, the next start goes through.
    postgres_server.run("DROP TABLE command_event", database=empty_database.name)
    up.stop(up.start())


@pytest.mark.timeout(120)
def test_database_that_cannot_be_reached_is_one_clear_line(up: Up) -> None:
    up.environment["REDFLAG_DATABASE_URL"] = "postgresql://nobody:secret-word@127.0.0.1:1/none"
    process = up.launch("--api-port=0", "--gateway-port=0")
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    failures = [line for line in said.splitlines() if line.startswith("redflag up:")]
    assert len(failures) == 1
    assert "cannot be reached" in failures[0]
    assert "secret-word" not in said
    assert "Traceback" not in said


@pytest.mark.timeout(120)
def test_keys_lost_while_the_database_knows_the_fleet_are_not_made_anew(up: Up) -> None:
    up.stop(up.start())
    for path in (up.data / "keys").iterdir():
        path.unlink()
    process = up.launch("--api-port=0", "--gateway-port=0")
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "restore them from a backup" in said
    assert list((up.data / "keys").iterdir()) == []


@pytest.mark.timeout(120)
def test_port_in_use_names_the_option(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = up.launch(f"--api-port={port}", "--gateway-port=0")
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert f"port {port} for the API is in use by another program; choose another with --api-port" in said


@pytest.mark.timeout(120)
def test_manifest_kept_on_disk_verifies(up: Up) -> None:
    process = up.start()
    environment = Path(f"/proc/{up.ready()['pids']['gateway']}/environ").read_bytes().split(b"\0")
    (fingerprint,) = [
        entry.partition(b"=")[2].decode()
        for entry in environment
        if entry.startswith(b"REDFLAG_ROOT_FINGERPRINT=")
    ]
    manifest = verify_first((up.data / "keys" / "manifest-1.json").read_bytes(), bytes.fromhex(fingerprint))
    assert manifest.fleet == (up.data / "keys" / "fleet").read_text().strip()
    assert not any(entry.startswith(b"REDFLAG_DATABASE_URL=") for entry in environment)
    up.stop(process)
