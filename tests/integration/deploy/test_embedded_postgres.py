import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from redflag.embedded.errors import InitialisationFailedError, ServerDiedError, UnreachablePathError
from redflag.embedded.launch import service_account
from redflag.embedded.postgres import SUPERUSER, PostgresCluster, start_and_wait, stop
from redflag.embedded.postgres_binaries import find_bin_dir, reachable_bin_dir
from redflag.embedded.processes import ProcessIdentity
from tests.support.directories import open_directory
from tests.support.postgres import DatabaseUrl, locate_cluster
from tests.support.processes import free_port

PASSWORD = "a password"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another account")


@pytest.fixture
def base() -> Iterator[Path]:
    with open_directory("cluster") as path:
        yield path


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """A base directory with a cluster in it; what initdb left beside it is there too."""
    with open_directory("cluster-template") as path:
        locate_cluster(path / "data", path / "programs").initialise(PASSWORD, sync=False)
        yield path


@pytest.fixture
def cluster(base: Path, made_once: Path) -> PostgresCluster:
    subprocess.run(["cp", "-a", f"{made_once}/.", str(base)], check=True)
    return locate_cluster(base / "data", base / "programs")


async def fetch(port: int, query: str, password: str = PASSWORD) -> object:
    connection = await asyncpg.connect(  # type: ignore[no-untyped-call]
        host="127.0.0.1", port=port, user=SUPERUSER, password=password, database="postgres", timeout=10
    )
    try:
        return await connection.fetchval(query, timeout=10)
    finally:
        await connection.close(timeout=10)


async def test_cluster_stopped_and_started_again_keeps_its_data(base: Path, cluster: PostgresCluster) -> None:
    port = free_port()
    process = start_and_wait(cluster, port, base / "log")
    await fetch(port, "CREATE TABLE kept AS SELECT 7 AS seven")
    assert stop(process) == 0
    process = start_and_wait(cluster, port, base / "log")
    try:
        assert await fetch(port, "SELECT seven FROM kept") == 7
        assert await fetch(port, "SHOW data_checksums") == "on"
    finally:
        stop(process)


async def test_cluster_refuses_a_wrong_password(base: Path, cluster: PostgresCluster) -> None:
    port = free_port()
    process = start_and_wait(cluster, port, base / "log")
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(port, "SELECT 1", password="another")
    finally:
        stop(process)


async def test_cluster_recovers_after_its_server_was_killed(base: Path, cluster: PostgresCluster) -> None:
    cluster = replace(cluster, settings={})  # as in production: durable
    port = free_port()
    process = start_and_wait(cluster, port, base / "log")
    await fetch(port, "CREATE TABLE kept AS SELECT 7 AS seven")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (cluster.data_dir / "postmaster.pid").exists()
    process = start_and_wait(cluster, port, base / "log")
    try:
        assert await fetch(port, "SELECT seven FROM kept") == 7
    finally:
        stop(process)


async def test_start_ends_a_server_left_behind_in_the_same_directory(
    base: Path, cluster: PostgresCluster
) -> None:
    port = free_port()
    left = start_and_wait(cluster, port, base / "log")
    process = start_and_wait(cluster, port, base / "log")
    try:
        assert left.wait(5) in (0, 1), "in order, or at once where a busy disk made the order too slow"
        assert await fetch(port, "SELECT 1") == 1
    finally:
        stop(process)


async def test_start_ignores_a_lock_file_that_names_a_foreign_process(
    base: Path, cluster: PostgresCluster
) -> None:
    lines = [str(os.getpid()), str(cluster.data_dir), "1", "5432", "", "127.0.0.1", "0 0", "ready"]
    lock = cluster.data_dir / "postmaster.pid"
    lock.write_text("\n".join(lines) + "\n")
    port = free_port()
    process = start_and_wait(cluster, port, base / "log")
    try:
        assert await fetch(port, "SELECT 1") == 1
    finally:
        stop(process)


async def test_start_ignores_the_lock_file_of_a_server_whose_zombie_nobody_reaped(
    base: Path, cluster: PostgresCluster
) -> None:
    killed = start_and_wait(cluster, free_port(), base / "log")
    os.kill(killed.pid, signal.SIGKILL)
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - dead, and still in the table
    port = free_port()
    process = start_and_wait(cluster, port, base / "log")
    try:
        assert await fetch(port, "SELECT 1") == 1
    finally:
        stop(process)
        killed.wait()


def test_initialise_leaves_no_password_file_and_nothing_aside(base: Path, cluster: PostgresCluster) -> None:
    assert cluster.initialised
    assert sorted(path.name for path in base.iterdir() if path.name != "programs") == ["data"]
    assert cluster.data_dir.stat().st_mode & 0o777 == 0o700


def test_initialise_starts_over_what_was_left_half_done(base: Path) -> None:
    cluster = locate_cluster(base / "data", base / "programs")
    (base / "data.new").mkdir()
    (base / "data.new" / "PG_VERSION").write_text("18\n")
    cluster.initialise(PASSWORD, sync=False)
    assert (cluster.data_dir / "global" / "pg_control").is_file()


def test_initialise_never_replaces_a_directory_that_is_not_a_cluster(base: Path) -> None:
    cluster = locate_cluster(base / "data", base / "programs")
    (base / "data").mkdir()
    (base / "data" / "somebody's").write_text("work")
    with pytest.raises(InitialisationFailedError):
        cluster.initialise(PASSWORD, sync=False)
    assert [path.name for path in base.iterdir() if path.name != "programs"] == ["data"]


def test_start_on_a_port_in_use_says_so(
    base: Path, cluster: PostgresCluster, empty_database: DatabaseUrl
) -> None:
    taken = int(str(empty_database).rpartition(":")[2].partition("/")[0])
    with pytest.raises(ServerDiedError) as raised:
        start_and_wait(cluster, taken, base / "log")
    assert raised.value.server == "PostgreSQL"


@as_root
def test_server_started_by_root_runs_as_the_service_account(base: Path, cluster: PostgresCluster) -> None:
    account = service_account()
    assert account is not None
    process = start_and_wait(cluster, free_port(), base / "log")
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        ids = {
            line.split()[0]: line.split()[1:]
            for line in status.splitlines()
            if line[:4] in ("Uid:", "Gid:", "Grou")
        }
        assert ids["Uid:"] == [str(account.uid)] * 4
        assert ids["Gid:"] == [str(account.gid)] * 4
        assert set(ids["Groups:"]) <= {str(account.gid)}
    finally:
        stop(process)


@as_root
def test_locate_names_the_directory_that_is_closed(base: Path) -> None:
    (base / "closed").mkdir(mode=0o700)
    (base / "closed" / "in").mkdir()
    with pytest.raises(UnreachablePathError) as raised:
        PostgresCluster.locate(base / "closed" / "in" / "data", copies=base / "programs")
    assert raised.value.closed == (base / "closed").resolve()
    assert (base / "closed").stat().st_mode & 0o777 == 0o700


@as_root
async def test_programs_out_of_reach_are_copied_and_run(base: Path) -> None:
    account = service_account()
    assert account is not None
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    carrier = find_bin_dir().parent.parent
    for name in (carrier.name, carrier.name + ".libs"):
        if carrier.with_name(name).is_dir():
            shutil.copytree(carrier.with_name(name), closed / name, symlinks=True)
    out_of_reach = closed / carrier.name / find_bin_dir().parent.name / "bin"
    bin_dir = reachable_bin_dir(out_of_reach, account, base / "programs")
    assert account.first_closed(bin_dir) is None
    assert closed.stat().st_mode & 0o777 == 0o700
    cluster = PostgresCluster(base / "data", bin_dir, account)
    cluster.initialise(PASSWORD, sync=False)
    assert cluster.initialised
    assert reachable_bin_dir(out_of_reach, account, base / "programs") == bin_dir


def test_server_ends_when_its_parent_is_killed(base: Path, cluster: PostgresCluster) -> None:
    port = free_port()
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        process = start_and_wait(cluster, port, base / "log")
        os.write(write, f"{process.pid}\n".encode())
        signal.pause()
    os.close(write)
    with os.fdopen(read) as stream:
        left = ProcessIdentity.of(int(stream.readline()))
    assert left is not None
    handle = os.pidfd_open(left.pid)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    ended, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert ended
