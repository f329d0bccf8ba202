"""From nothing to an approved, installed and reported update, with a restart of everything in the middle."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import nacl.signing
import pytest

from tests.support.apt_bed import AptBed, build_bed_with_updates, require_tools
from tests.support.directories import open_directory
from tests.support.installation import Installation
from tests.support.simulated_agent import command_key_of

INVENTORY_DEADLINE_S = 60


@pytest.fixture
def bed_and_installation() -> Iterator[tuple[AptBed, Installation]]:
    require_tools()
    with open_directory("whole-path") as directory:
        bed = build_bed_with_updates(directory / "bed")
        installation = Installation(directory, {"REDFLAG_AGENT_APT_CONFIG": str(bed.config)})
        try:
            yield bed, installation
        finally:
            installation.kill_all()


def updates_by_name(installation: Installation) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in installation.json("updates", "list")["items"]}


def wait_for_updates(installation: Installation) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + INVENTORY_DEADLINE_S
    while True:
        found = updates_by_name(installation)
        if found:
            return found
        assert time.monotonic() < deadline, installation.tail()
        time.sleep(0.2)


@pytest.mark.timeout(300)
def test_an_update_goes_the_whole_way(bed_and_installation: tuple[AptBed, Installation]) -> None:
    bed, installation = bed_and_installation
    installation.start()

    # The host enrolled by itself and reported its updates.
    found = wait_for_updates(installation)
    assert {"alpha", "beta"} <= found.keys()
    (host,) = installation.json("hosts", "list")["items"]
    name = host["hostname"]

    installation.cli("scan", name, "apt", "--wait")
    installation.cli("updates", "approve", name, "alpha", "beta")
    assert {one["state"] for one in updates_by_name(installation).values() if one["name"] != "gamma"} == {
        "approved"
    }

    # The plan brings gamma along, so it must be confirmed before anything is installed.
    installation.cli("updates", "plan", name, "--wait")
    installation.cli("updates", "install", name, "--wait", expect=6)
    assert bed.installed("alpha") == "1.0"

    installation.stop()
    installation.start()

    installation.cli("updates", "confirm", name)
    installation.cli("updates", "install", name, "--wait")
    assert (bed.installed("alpha"), bed.installed("beta"), bed.installed("gamma")) == ("2.0", "2.0", "1.0")

    # The database says the same: no update is left, and the history has one line for the operation.
    left = updates_by_name(installation)
    assert not {one["name"] for one in left.values() if one["state"] != "updated"}, left
    history = installation.cli("history", name)
    assert "alpha" in history
    assert "2.0" in history

    looked_at_without_being_asked(installation)

    (command,) = installation.json("commands", "list", "--kind", "install_updates")["items"]
    shown = installation.json("commands", "show", command["id"])
    states = [event["to_state"] for event in shown["events"]]
    assert states == ["requested", "signed", "queued", "delivered", "running", "succeeded"]

    verify_as_a_stranger_would(installation, command["id"])
    assert_one_id_from_click_to_report(installation, shown["op"])


def looked_at_without_being_asked(installation: Installation) -> None:
    """The scheduler's own scans were signed without anybody's intent and done; apt's was put off by the operator's."""
    deadline = time.monotonic() + 60
    while True:
        scans = installation.json("commands", "list", "--kind", "scan")["items"]
        done = {
            one["params"]["subsystem"]
            for one in scans
            if (one["source"], one["state"]) == ("system", "succeeded")
        }
        if {"storage", "system"} <= done:
            break
        told = [f"{one['source']} {one['params']['subsystem']} {one['state']} {one['code']}" for one in scans]
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    (host,) = installation.json("hosts", "list")["items"]
    listed = installation.json("subsystems", "list", host["id"])["items"]
    assert {one["name"] for one in listed if one["last_run_at"] and one["next_run_at"]} == {
        "apt",
        "storage",
        "system",
    }


def verify_as_a_stranger_would(installation: Installation, command_id: str) -> None:
    """PyNaCl, the stored bytes and the public key of the manifest: nothing of RedFlag's code."""
    envelope = json.loads(base64.b64decode(installation.cli("commands", "show", command_id, "--envelope")))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = command_key_of((installation.data_dir / "keys" / "manifest-1.json").read_bytes())
    nacl.signing.VerifyKey(key).verify(signed, base64.b64decode(envelope["signatures"][0]["sig"]))
    assert json.loads(payload)["cmd"] == command_id


def assert_one_id_from_click_to_report(installation: Installation, op: str) -> None:
    for program in ("dashboard", "dispatcher", "gateway", "agent"):
        assert any(op in json.dumps(record) for record in installation.log_records(program)), (
            f"{program} has no record with op {op}"
        )


@pytest.mark.timeout(300)
def test_kill_of_everything_in_the_middle_loses_nothing(
    bed_and_installation: tuple[AptBed, Installation],
) -> None:
    bed, installation = bed_and_installation
    installation.start()
    wait_for_updates(installation)
    (host,) = installation.json("hosts", "list")["items"]
    name = host["hostname"]
    installation.cli("updates", "approve", name, "alpha")
    installation.cli("updates", "plan", name, "alpha", "--wait")
    installation.json("updates", "install", name, "alpha")
    installation.kill_all()

    installation.start()
    (command,) = installation.json("commands", "list", "--kind", "install_updates")["items"]
    deadline = time.monotonic() + 120
    while command["state"] not in ("succeeded", "failed", "unknown", "expired", "rejected"):
        assert time.monotonic() < deadline, (command, installation.tail())
        time.sleep(0.2)
        command = installation.json("commands", "show", command["id"])
    assert command["state"] == "succeeded"
    assert bed.installed("alpha") == "2.0"


@pytest.mark.timeout(120)
def test_a_second_up_on_the_same_directory_is_refused_in_one_line(
    bed_and_installation: tuple[AptBed, Installation],
) -> None:
    _, installation = bed_and_installation
    installation.start()
    before = installation.log.stat().st_size
    second = installation.launch()
    assert second.wait(30) == 3
    said = installation.log.read_bytes()[before:].decode()
    refusal = [line for line in said.splitlines() if str(installation.data_dir) in line]
    assert len(refusal) == 1, said
    assert "Traceback" not in said
