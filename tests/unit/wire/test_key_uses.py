"""E4: every key against every type; only the table of docs/protocol.md 2 passes."""

from datetime import timedelta
from itertools import product

import pytest

from redflag_wire.command import CommandKind
from redflag_wire.envelope import verify_envelope
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.manifest import KeyStatus
from redflag_wire.payload_types import SIGNED_BY, KeyUse, PayloadType, SignerRole
from redflag_wire.signing import sign_envelope
from tests.unit.wire import samples
from tests.unit.wire.samples import KEYS, NOW

TABLE = {
    PayloadType.COMMAND: {"command"},
    PayloadType.INTENT: {"intent"},
    PayloadType.KEYS: {"root"},
    PayloadType.BEACON: {"beacon"},
    PayloadType.ENROLL: {"token", "agent"},
    PayloadType.ENROLLED: {"access"},
    PayloadType.REPORT: {"agent", "receipt"},
}


def acceptable(kind: PayloadType) -> list[PublicKey]:
    """Return the keys a receiver tries: the manifest's for a manifest use, else the ones it knows for the role."""
    keys: list[PublicKey] = []
    manifest = samples.manifest()
    for role in SIGNED_BY[kind]:
        if role.value in set(KeyUse):
            keys += manifest.keys_for(KeyUse(role.value), NOW)
        elif role is SignerRole.ROOT:
            keys += manifest.root_keys
        else:
            keys.append(KEYS[role].public)
    return keys


def test_the_table_is_the_protocols() -> None:
    assert {kind: {role.value for role in roles} for kind, roles in SIGNED_BY.items()} == TABLE


def test_every_manifest_use_is_a_signer_role() -> None:
    assert {use.value for use in KeyUse} <= {role.value for role in SignerRole}


@pytest.mark.parametrize("role", SignerRole)
def test_a_key_signs_only_what_the_table_says(role: SignerRole) -> None:
    for signed, expected in product(PayloadType, PayloadType):
        envelope = sign_envelope(signed, b"{}", KEYS[role])
        try:
            verify_envelope(envelope, expected, acceptable(expected))
            passed = True
        except WireError:
            passed = False
        assert passed is (signed is expected and role.value in TABLE[expected]), (role, signed, expected)


@pytest.mark.parametrize("use", KeyUse)
def test_keys_for_gives_keys_of_that_use_alone(use: KeyUse) -> None:
    assert samples.manifest().keys_for(use, NOW) == [KEYS[SignerRole(use.value)].public]


@pytest.mark.parametrize(
    ("status", "offset", "usable"),
    [
        (KeyStatus.ACTIVE, timedelta(0), True),
        (KeyStatus.RETIRING, timedelta(0), True),
        (KeyStatus.REVOKED, timedelta(0), False),
        (KeyStatus.ACTIVE, timedelta(days=-1), True),
        (KeyStatus.ACTIVE, timedelta(days=-1, milliseconds=-1), False),
        (KeyStatus.ACTIVE, timedelta(days=1), True),
        (KeyStatus.ACTIVE, timedelta(days=1, milliseconds=1), False),
        (KeyStatus.RETIRING, timedelta(days=1, milliseconds=1), False),
    ],
)
def test_keys_for_judges_status_and_time(status: KeyStatus, offset: timedelta, usable: bool) -> None:
    signing = KEYS[SignerRole.COMMAND]
    manifest = samples.manifest(keys=[samples.manifest_key(KeyUse.COMMAND, signing, status=status)])
    assert manifest.keys_for(KeyUse.COMMAND, NOW + offset) == ([signing.public] if usable else [])


def test_kinds_narrow_a_command_key() -> None:
    narrow, wide = KEYS[SignerRole.COMMAND], samples.key("wide")
    manifest = samples.manifest(
        keys=[
            samples.manifest_key(KeyUse.COMMAND, narrow, kinds=[CommandKind.SCAN]),
            samples.manifest_key(KeyUse.COMMAND, wide),
            samples.manifest_key(KeyUse.INTENT, KEYS[SignerRole.INTENT]),
        ]
    )
    assert manifest.keys_for(KeyUse.COMMAND, NOW) == [narrow.public, wide.public]
    assert manifest.keys_for(KeyUse.COMMAND, NOW, CommandKind.SCAN) == [narrow.public, wide.public]
    assert manifest.keys_for(KeyUse.COMMAND, NOW, CommandKind.REBOOT) == [wide.public]
    assert manifest.allows_kind(narrow.public, CommandKind.SCAN)
    assert not manifest.allows_kind(narrow.public, CommandKind.REBOOT)
    assert manifest.allows_kind(wide.public, CommandKind.REBOOT)
    assert not manifest.allows_kind(KEYS[SignerRole.INTENT].public, CommandKind.SCAN)
