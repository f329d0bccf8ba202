"""What counts as the same request."""

from uuid import UUID

import pytest

from redflag_store.dedupe_keys import dedupe_key
from redflag_wire.command_params import CommandKind

_PARAMS = {"subsystem": "apt", "manager": "apt", "cmd": str(UUID(int=7))}


def test_every_kind_has_a_key() -> None:
    keys = {kind: dedupe_key(kind, _PARAMS) for kind in CommandKind}
    assert keys[CommandKind.SCAN] == "scan:apt"
    assert keys[CommandKind.DRY_RUN_UPDATE] == "plan:apt"
    assert keys[CommandKind.CANCEL] == f"cancel:{UUID(int=7)}"
    assert keys[CommandKind.REBOOT] == "reboot"
    assert dedupe_key("scan", {}) == "scan:all"


def test_a_host_changes_its_packages_for_one_command_at_a_time() -> None:
    assert dedupe_key("install_updates", {}) == dedupe_key("rollback_update", {}) == "install"
    assert dedupe_key("enable_heartbeat", {}) == dedupe_key("disable_heartbeat", {})


def test_an_unknown_kind_has_none() -> None:
    with pytest.raises(ValueError, match="format"):
        dedupe_key("format", {})
