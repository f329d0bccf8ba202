from datetime import timedelta
from uuid import uuid4

import pytest

from redflag_scanner_agent.journal_file import JournalFile
from redflag_scanner_agent.trust import Trust, TrustRefusedError
from redflag_wire.clock import ManualClock
from redflag_wire.manifest import KeyStatus, ManifestRoot
from redflag_wire.signing import SigningKey
from tests.support.agent_fleet import START, Fleet, key
from tests.unit.scanner_agent.host import Host


@pytest.fixture
def trust(journal_file: JournalFile, receipt_key: SigningKey) -> Trust:
    return Trust(journal_file, ManualClock(START), receipt_key.public)


def refused(code: str, caught: pytest.ExceptionInfo[TrustRefusedError]) -> None:
    assert caught.value.code == code


def test_first_manifest_needs_the_token_s_root(trust: Trust, fleet: Fleet) -> None:
    with pytest.raises(TrustRefusedError) as caught:
        trust.begin(b"\0" * 32, [fleet.manifest_envelope])
    refused("manifest_fingerprint", caught)
    assert trust.manifest is None


def test_manifests_are_walked_and_remembered(journal_file: JournalFile, trust: Trust, fleet: Fleet) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    second = fleet.sign_manifest(fleet.make_manifest(2))
    assert trust.advance([second]).version == 2
    again = Trust(journal_file, ManualClock(START), key().public)
    assert again.manifest == trust.manifest


@pytest.mark.parametrize(
    ("version", "code"), [(1, "manifest_rollback"), (2, "manifest_version_gap"), (4, "manifest_version_gap")]
)
def test_manifest_that_does_not_follow_is_refused(
    trust: Trust, fleet: Fleet, version: int, code: str
) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope, fleet.sign_manifest(fleet.make_manifest(2))])
    with pytest.raises(TrustRefusedError) as caught:
        trust.advance([fleet.sign_manifest(fleet.make_manifest(version))])
    refused(code, caught)
    assert trust.manifest is not None
    assert trust.manifest.version == 2


def test_manifest_without_the_old_root_is_refused(trust: Trust, fleet: Fleet) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    other = key()
    taken_over = fleet.make_manifest(2, roots=[ManifestRoot(pub=other.public.to_b64())])
    with pytest.raises(TrustRefusedError) as caught:
        trust.advance([fleet.sign_manifest(taken_over, other)])
    refused("manifest_threshold", caught)


def test_revoked_beacon_key_is_refused_at_once(trust: Trust, fleet: Fleet) -> None:
    revoked = fleet.make_manifest(2, beacon={"status": KeyStatus.REVOKED})
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    trust.observe(fleet.beacon())
    trust.advance([fleet.sign_manifest(revoked)])
    with pytest.raises(TrustRefusedError):
        trust.observe(fleet.beacon(START + timedelta(minutes=1)))


def test_time_is_a_beacon_s_and_runs_with_the_monotonic_clock(
    journal_file: JournalFile, fleet: Fleet
) -> None:
    clock = ManualClock(START - timedelta(days=3650))
    trust = Trust(journal_file, clock, key().public)
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    assert trust.now() is None
    trust.observe(fleet.beacon(START))
    clock.advance(90)
    assert trust.now() == START + timedelta(seconds=90)


def test_older_beacon_changes_nothing_also_after_a_restart(journal_file: JournalFile, fleet: Fleet) -> None:
    clock = ManualClock(START)
    trust = Trust(journal_file, clock, key().public)
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    trust.observe(fleet.beacon(START))
    old = fleet.beacon(START - timedelta(seconds=1))
    assert trust.observe(old) is None
    again = Trust(journal_file, clock, key().public)
    assert again.observe(old) is None
    assert again.now() is None  # and nothing acts by a time that went back
    assert again.observe(fleet.beacon(START)) is not None
    assert again.now() == START


@pytest.mark.parametrize("signer", ["command_key", "access_key", "root"])
def test_beacon_of_another_key_is_refused(trust: Trust, fleet: Fleet, signer: str) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    with pytest.raises(TrustRefusedError) as caught:
        trust.observe(fleet.beacon(signer=getattr(fleet, signer)))
    refused("beacon", caught)


def test_beacon_of_a_time_its_key_is_not_valid_at_is_refused(trust: Trust, fleet: Fleet) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    with pytest.raises(TrustRefusedError) as caught:
        trust.observe(fleet.beacon(START + timedelta(days=400)))
    refused("beacon_key_time", caught)
    assert trust.now() is None


def test_beacon_of_another_fleet_is_refused(trust: Trust, fleet: Fleet) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    with pytest.raises(TrustRefusedError) as caught:
        trust.observe(fleet.beacon(fleet=str(uuid4())))
    refused("beacon_fleet", caught)


def test_identity_for_other_keys_is_refused(trust: Trust, fleet: Fleet, receipt_key: SigningKey) -> None:
    trust.begin(fleet.rootfp, [fleet.manifest_envelope])
    mine, other = key(), key()
    receipt = receipt_key.public.to_b64()
    for agent_pub, receipt_pub in (
        (other.public.to_b64(), receipt),
        (mine.public.to_b64(), other.public.to_b64()),
    ):
        with pytest.raises(TrustRefusedError) as caught:
            trust.enrol(fleet.enrolled("a" * 10, uuid4(), agent_pub, receipt_pub), mine.public)
        refused("enrolled_keys", caught)
    assert trust.identity is None


def test_identity_is_taken_once(host: Host) -> None:
    pubs = (host.agent_key.public.to_b64(), host.receipt_key.public.to_b64())
    again = host.fleet.enrolled("a" * 10, host.agent, *pubs)
    host.trust.enrol(again, host.agent_key.public)  # a retry of the same enrolment
    with pytest.raises(TrustRefusedError) as caught:
        host.trust.enrol(host.fleet.enrolled("a" * 10, uuid4(), *pubs), host.agent_key.public)
    refused("enrolled_already", caught)
    host.start()
    assert host.trust.identity is not None
    assert host.trust.identity.agent == host.agent


def test_enrolled_host_takes_no_other_installation(host: Host) -> None:
    other = Fleet()
    with pytest.raises(TrustRefusedError) as caught:
        host.trust.begin(other.rootfp, [other.manifest_envelope])
    refused("enrolled_elsewhere", caught)


async def test_refused_manifest_is_an_event(host: Host) -> None:
    third = host.fleet.sign_manifest(host.fleet.make_manifest(3))
    with pytest.raises(TrustRefusedError):
        await host.ask("manifest", host.blobs(third))
    waiting = host.spool.first_pending()
    assert waiting is not None
