"""What an agent's version means."""

import pytest

from redflag_dashboard.agent_versions import Wanted, agent_too_old
from redflag_store.fleet_settings import FleetSettings
from redflag_wire.command_params import CommandKind


@pytest.mark.parametrize(
    ("version", "minimum", "kind", "refused"),
    [
        ("1.9.0", "1.10.0", CommandKind.SCAN, True),
        ("1.10", "v1.10.0", CommandKind.SCAN, False),
        ("dev", "0.0.1", CommandKind.REBOOT, True),
        (None, "0.0.1", CommandKind.SCAN, True),
        (None, None, CommandKind.SCAN, False),
        ("0.1", "9", CommandKind.UPDATE_AGENT, False),
        ("0.1", "9", CommandKind.CANCEL, False),
        ("0.1", "9", CommandKind.DISABLE_HEARTBEAT, True),
    ],
)
def test_an_old_agent_is_asked_for_its_update_only(
    version: str | None, minimum: str | None, kind: CommandKind, refused: bool
) -> None:
    assert agent_too_old(version, minimum, kind) is refused


def test_the_newest_version_is_the_servers_own_unless_one_is_set() -> None:
    own = Wanted.of(FleetSettings({}), "0.2.0")
    assert (own.newest, own.minimum) == ("0.2.0", None)
    assert own.update_available("0.1.9")
    assert not own.update_available("0.2.0")
    assert not own.below_minimum(None)
    told = Wanted.of(
        FleetSettings({"agents.newest_version": "0.3.0", "agents.minimum_version": "0.2.0"}), "0.2.0"
    )
    assert told.update_available("0.2.0")
    assert told.below_minimum("0.1.10")
