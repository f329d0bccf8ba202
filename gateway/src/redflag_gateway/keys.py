"""The key manifest chain, taken from the bucket ``rf-keys`` and verified from a configured root fingerprint.

Guarantees: a version counts only after it was verified as the direct successor of the one before it, from version 1
on; the gateway trusts nobody's word for a key. See docs/protocol.md 4.
"""

from collections.abc import Callable
from datetime import datetime

from redflag_broker_config.subjects import SubjectError, manifest_version_of
from redflag_ops.logging import get_logger
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.manifest import KeyManifest
from redflag_wire.manifest_chain import advance, verify_first
from redflag_wire.payload_types import KeyUse

VERSIONS_MAX = 1024  # versions kept; at one rotation a month, 85 years
AHEAD_MAX = 64  # versions that came before the one they follow


class Keys:
    """The verified chain.

    Args:
        root_fingerprint: 32 bytes; what version 1 must have as its root set.
        fleet: this installation's id; every version must name it.
    """

    def __init__(self, root_fingerprint: bytes, fleet: str) -> None:
        self._root_fingerprint = root_fingerprint
        self._fleet = fleet
        self._on_change: list[Callable[[], None]] = []
        self._current: KeyManifest | None = None
        self._chain: list[bytes] = []
        self._ahead: dict[int, bytes] = {}
        self._log = get_logger()

    @property
    def version(self) -> int:
        """The newest verified version; 0 while there is none."""
        return len(self._chain)

    @property
    def chain(self) -> list[bytes]:
        """The envelopes of all verified versions, version 1 first."""
        return self._chain

    def on_change(self, notice: Callable[[], None]) -> None:
        """Have something called after each new version."""
        self._on_change.append(notice)

    def note(self, key: str, value: bytes | None) -> None:
        """Take over an entry of the bucket; what does not verify is logged and left out."""
        try:
            version = manifest_version_of(key)
        except SubjectError:
            self._log.warning("manifest.unknown_key")
            return
        if value is None or version <= self.version or version > VERSIONS_MAX:
            return
        if len(self._ahead) < AHEAD_MAX or version in self._ahead:
            self._ahead[version] = value
        self._extend()

    def _extend(self) -> None:
        while (envelope := self._ahead.pop(self.version + 1, None)) is not None:
            try:
                manifest = (
                    verify_first(envelope, self._root_fingerprint)
                    if self._current is None
                    else advance(self._current, envelope)
                )
            except WireError as error:
                self._log.error("manifest.refused", version=self.version + 1, code=error.code)
                return
            if str(manifest.fleet) != self._fleet:
                self._log.error("manifest.refused", version=self.version + 1, code="fleet")
                return
            self._current = manifest
            self._chain.append(envelope)
            self._log.info("manifest.loaded", version=self.version)
            for notice in self._on_change:
                notice()

    def access_keys(self, now: datetime) -> list[PublicKey]:
        """Return the keys that may sign access tokens at this moment."""
        return [] if self._current is None else self._current.keys_for(KeyUse.ACCESS, now)
