"""What the helper trusts: key manifest, trusted time, and who this host is (docs/protocol.md 4 and 8.1).

Guarantees: every change is verified here and on the disk before it is used; a manifest or a time never goes back;
an identity, once taken, is not replaced by another one.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from redflag_scanner_agent.errors import AgentError
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.beacon import Beacon
from redflag_wire.clock import Clock
from redflag_wire.enrolment import Enrolled
from redflag_wire.envelope import parse_envelope, verify_envelope
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.manifest import KeyManifest, KeyStatus
from redflag_wire.manifest_chain import verify_first, walk
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.timestamps import format_timestamp, parse_timestamp
from redflag_wire.trusted_time import TrustedTime

_MANIFEST = "manifest"
_HIGH_WATER = "high_water"
_IDENTITY = "enrolled"


class TrustRefusedError(AgentError):
    """A manifest, beacon or identity was refused; nothing was changed."""


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """Who this host is.

    Attributes:
        fleet: the installation.
        agent: the id.
        agent_key: the network process's public key.
    """

    fleet: str
    agent: UUID
    agent_key: PublicKey


class Trust:
    """The helper's trusted knowledge, kept in the journal file.

    Args:
        file: the open file.
        clock: its monotonic clock carries trusted time from one beacon to the next.
        receipt: this helper's own receipt key, which an identity must name.
    """

    def __init__(self, file: JournalFile, clock: Clock, receipt: PublicKey) -> None:
        self._file = file
        self._clock = clock
        self._receipt = receipt
        stored = file.get(_MANIFEST)
        self._manifest = None if stored is None else KeyManifest.from_bytes(parse_envelope(stored).payload)
        mark = file.get(_HIGH_WATER)
        self._time = TrustedTime(None if mark is None else parse_timestamp(mark.decode()))
        self._min_agent_version: str | None = None
        kept = file.get(_IDENTITY)
        self._identity = (
            None if kept is None else _identity_of(Enrolled.from_bytes(parse_envelope(kept).payload))
        )

    @property
    def manifest(self) -> KeyManifest | None:
        """The keys trusted, None before enrolment."""
        return self._manifest

    @property
    def min_agent_version(self) -> str | None:
        """The oldest agent that may change hosts, by the newest beacon of this process; None for any."""
        return self._min_agent_version

    @property
    def identity(self) -> HostIdentity | None:
        """Who this host is, None before enrolment."""
        return self._identity

    def now(self) -> datetime | None:
        """Return trusted time, None before the first beacon of this process."""
        return self._time.now(self._clock.monotonic())

    def begin(self, rootfp: bytes, chain: list[bytes]) -> KeyManifest:
        """Take the first manifest of an installation, and those that follow it.

        A host that has an identity keeps what it trusts: the chain must then continue it.

        Args:
            rootfp: the root fingerprint of the enrolment token.
            chain: envelopes from version 1 on.

        Raises:
            TrustRefusedError: another root, a broken chain, or no chain.
        """
        if not chain:
            raise TrustRefusedError("manifest_missing", "the server sent no key manifest")
        try:
            first = verify_first(chain[0], rootfp)
            if self._identity is not None and self._manifest is not None:
                if first.fleet != self._manifest.fleet:
                    raise TrustRefusedError("enrolled_elsewhere", "this host belongs to another installation")
                return self.advance(chain[self._manifest.version :])
            manifest = walk(first, chain[1:])
        except WireError as error:
            raise TrustRefusedError(f"manifest_{error.code}", error.detail) from None
        self._keep_manifest(chain[-1], manifest)
        return manifest

    def advance(self, chain: list[bytes]) -> KeyManifest:
        """Take the manifests that follow the trusted one; an empty chain changes nothing.

        Raises:
            TrustRefusedError: `manifest_rollback` and its like; the trusted one stays.
        """
        if self._manifest is None:
            raise TrustRefusedError("manifest_missing", "no manifest is trusted yet")
        try:
            manifest = walk(self._manifest, chain)
        except WireError as error:
            raise TrustRefusedError(f"manifest_{error.code}", error.detail) from None
        if chain:
            self._keep_manifest(chain[-1], manifest)
        return manifest

    def observe(self, data: bytes) -> Beacon | None:
        """Take a beacon's word for the time.

        Its key is judged at the time the beacon itself names: before the first one there is no other, and a time
        below the high-water mark is refused anyway.

        Returns:
            The beacon, or None for one older than the newest taken.

        Raises:
            TrustRefusedError: not a beacon of this installation.
        """
        manifest = self._manifest
        if manifest is None:
            raise TrustRefusedError("manifest_missing", "no manifest is trusted yet")
        keys = {
            one.key: one
            for one in manifest.keys
            if one.use is KeyUse.BEACON and one.status is not KeyStatus.REVOKED
        }
        try:
            verified = verify_envelope(parse_envelope(data), PayloadType.BEACON, keys)
            beacon = Beacon.from_bytes(verified.payload)
        except WireError as error:
            raise TrustRefusedError("beacon", str(error)) from None
        if beacon.fleet != manifest.fleet:
            raise TrustRefusedError("beacon_fleet", f"a beacon of fleet {beacon.fleet}")
        if not keys[verified.key].usable(beacon.now):
            raise TrustRefusedError("beacon_key_time", "signed with a key that is not valid at that time")
        mark = self._time.high_water
        if mark is not None and beacon.now < mark:
            return None
        if mark is None or beacon.now > mark:
            self._file.put(_HIGH_WATER, format_timestamp(beacon.now).encode())
        self._time.observe(beacon.now, self._clock.monotonic())
        self._min_agent_version = beacon.min_agent_version
        return beacon

    def enrol(self, data: bytes, agent_key: PublicKey) -> Enrolled:
        """Take the identity the server gave.

        Args:
            data: the `enrolled.v1` envelope.
            agent_key: the network process's key, which it must name.

        Raises:
            TrustRefusedError: not signed by an access key, for other keys, or this host is somebody else already.
        """
        manifest = self._manifest
        if manifest is None:
            raise TrustRefusedError("manifest_missing", "no manifest is trusted yet")
        keys = {
            one.key: one
            for one in manifest.keys
            if one.use is KeyUse.ACCESS and one.status is not KeyStatus.REVOKED
        }
        try:
            verified = verify_envelope(parse_envelope(data), PayloadType.ENROLLED, keys)
            enrolled = Enrolled.from_bytes(verified.payload)
        except WireError as error:
            raise TrustRefusedError("enrolled", str(error)) from None
        if enrolled.fleet != manifest.fleet or not keys[verified.key].usable(enrolled.at):
            raise TrustRefusedError(
                "enrolled_fleet", "an identity of another installation or of a key out of time"
            )
        identity = _identity_of(enrolled)
        if identity.agent_key != agent_key or PublicKey.from_b64(enrolled.receipt_pub) != self._receipt:
            raise TrustRefusedError("enrolled_keys", "an identity for other keys than this host's")
        if self._identity is not None and self._identity != identity:
            raise TrustRefusedError("enrolled_already", "this host has an identity already")
        self._file.put(_IDENTITY, data)
        self._identity = identity
        return enrolled

    def _keep_manifest(self, envelope: bytes, manifest: KeyManifest) -> None:
        self._file.put(_MANIFEST, envelope)
        self._manifest = manifest


def _identity_of(enrolled: Enrolled) -> HostIdentity:
    return HostIdentity(enrolled.fleet, enrolled.agent, PublicKey.from_b64(enrolled.agent_pub))
