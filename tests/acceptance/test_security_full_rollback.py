"""Security updates alone, a full upgrade, the way back, and a dpkg that was cut off: a whole RedFlag on a real apt.

Whatever RedFlag says, dpkg itself is asked after each.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apt_bed import AptBed, build_bed, require_tools
from tests.support.apt_situations import CUT_OFF
from tests.support.directories import open_directory
from tests.support.installation import Installation

DEADLINE_S = 60.0
CONFLICT = 6  # the plan is not confirmed
FAILED = 1


def build(directory: Path) -> AptBed:
    """`alpha` has a fix; `beta` an ordinary update that brings `gamma` along and removes `old`."""
    bed = build_bed(directory)
    for name in ("alpha", "beta", "delta", "old"):
        bed.publish(name, "1.0")
    bed.refresh()
    bed.install("alpha")
    bed.install("beta")
    bed.install("delta")
    bed.install("old")
    bed.publish("alpha", "2.0", security=True)
    bed.publish("beta", "2.0", depends="gamma", conflicts="old")
    bed.publish("gamma", "1.0")
    bed.refresh()
    return bed


@pytest.fixture
def scene() -> Iterator[tuple[AptBed, Installation, Path]]:
    require_tools()
    with open_directory("security-full-rollback") as directory:
        bed = build(directory / "bed")
        policy = directory / "policy.toml"
        installation = Installation(
            directory,
            {"REDFLAG_AGENT_APT_CONFIG": str(bed.config), "REDFLAG_AGENT_POLICY_FILE": str(policy)},
        )
        try:
            yield bed, installation, policy
        finally:
            installation.kill_all()


def wait_for_host(installation: Installation) -> str:
    """Return the host's name once its first inventory is there."""
    deadline = time.monotonic() + DEADLINE_S
    while not installation.json("updates", "list")["items"]:
        assert time.monotonic() < deadline, installation.tail()
        time.sleep(0.2)
    (host,) = installation.json("hosts", "list")["items"]
    return str(host["hostname"])


def changes(plan: dict[str, Any]) -> dict[str, tuple[str | None, str | None, str]]:
    return {one["name"]: (one["old"], one["new"], one["action"]) for one in plan["items"]}


def planned(installation: Installation, *arguments: str) -> dict[str, tuple[str | None, str | None, str]]:
    """Make a plan, see that nothing happens without a confirmation, and confirm it."""
    found = installation.json("updates", *arguments, "--wait")
    host = arguments[1]
    installation.cli("updates", "install", host, "--wait", expect=CONFLICT)
    installation.cli("updates", "confirm", host)
    return changes(found)


@pytest.mark.timeout(300)
def test_security_only_then_full_then_back_then_a_dpkg_that_was_cut_off(
    scene: tuple[AptBed, Installation, Path],
) -> None:
    bed, installation, policy = scene
    installation.start()
    host = wait_for_host(installation)
    before = {"alpha": "1.0", "beta": "1.0", "delta": "1.0", "old": "1.0"}
    assert bed.everything() == before

    # Only what has a fix.
    assert planned(installation, "plan", host, "--security") == {"alpha": ("1.0", "2.0", "upgrade")}
    assert bed.everything() == before
    installation.cli("updates", "install", host, "--wait")
    assert bed.everything() == {**before, "alpha": "2.0"}

    # All there is, with what that brings along and takes away.
    assert planned(installation, "plan", host, "--full") == {
        "beta": ("1.0", "2.0", "upgrade"),
        "gamma": (None, "1.0", "install"),
        "old": ("1.0", None, "remove"),
    }
    installation.cli("updates", "install", host, "--wait")
    full = {"alpha": "2.0", "beta": "2.0", "delta": "1.0", "gamma": "1.0"}
    assert bed.everything() == full

    # Back to the version before, and to nothing else.
    assert planned(installation, "rollback", host, "alpha") == {"alpha": ("2.0", "1.0", "downgrade")}
    installation.cli("updates", "install", host, "--wait")
    assert bed.everything() == {**full, "alpha": "1.0"}

    # Somebody's dpkg is killed in its work: nothing is installed over that...
    bed.publish("delta", "2.0", scripts={"postinst": CUT_OFF})
    bed.refresh()
    bed.apt("install", "-y", "delta=2.0", check=False)
    cut_off = bed.everything()
    assert cut_off["delta"] != "2.0"
    # The very plan of before, made anew: what was confirmed then counts, for it is byte for byte the same.
    again = installation.json("updates", "plan", host, "--security", "--wait")
    assert changes(again) == {"alpha": ("1.0", "2.0", "upgrade")}
    installation.cli("updates", "install", host, "--wait", expect=FAILED)
    assert bed.everything() == cut_off
    newest = installation.json("commands", "list", "--kind", "install_updates")["items"][0]
    assert (newest["state"], newest["code"]) == ("failed", "dpkg_interrupted"), newest

    # ... until the host's own policy allows to finish it first.
    policy.write_text("repair_interrupted = true\n")
    installation.cli("updates", "plan", host, "--security", "--wait")
    installation.cli("updates", "install", host, "--wait")
    assert bed.everything() == {**full, "delta": "2.0"}
    newest = installation.json("commands", "list", "--kind", "install_updates")["items"][0]
    shown = installation.json("commands", "show", newest["id"])
    assert "finished: delta 2.0" in json.dumps(shown)
