"""The key manifest payload (docs/protocol.md 4): which keys there are, for which one use, and until when.

Every key has one use: no public key stands twice in a manifest, neither among the keys nor among the roots.
Whether a manifest may be trusted is decided by ``manifest_chain``.
"""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from redflag_wire import limits
from redflag_wire.command_params import CommandKind
from redflag_wire.fields import FleetId, PublicKeyText, SchemaVersion, Version
from redflag_wire.keys import PublicKey
from redflag_wire.payload import Payload, WireModel
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.timestamps import Timestamp


class KeyStatus(StrEnum):
    """Where a key is in its life."""

    ACTIVE = "active"
    RETIRING = "retiring"  # accepted until its exp: the grace of a rotation
    REVOKED = "revoked"  # refused at once, even for what was signed before


class ManifestRoot(WireModel):
    """A key that signs manifests and nothing else.

    Attributes:
        pub: base64.
    """

    pub: PublicKeyText

    @property
    def key(self) -> PublicKey:
        """The key itself."""
        return PublicKey.from_b64(self.pub)


class ManifestKey(WireModel):
    """A key with its one use.

    Attributes:
        keyid: ``ed25519:<hex>`` of ``pub``; must fit.
        pub: base64.
        use: what it may sign.
        kinds: for a command key the kinds it may sign, None for all; None for every other use.
        nbf: not before.
        exp: not after; later than ``nbf``.
        status: active, retiring or revoked.
    """

    keyid: str
    pub: PublicKeyText
    use: Annotated[KeyUse, Field(strict=False)]
    kinds: list[Annotated[CommandKind, Field(strict=False)]] | None = Field(default=None, min_length=1)
    nbf: Timestamp
    exp: Timestamp
    status: Annotated[KeyStatus, Field(strict=False)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.keyid != self.key.keyid:
            raise ValueError("keyid is not the one of pub")
        if self.exp <= self.nbf:
            raise ValueError("a key ends after it begins")
        if self.kinds is not None and (
            self.use is not KeyUse.COMMAND or len(set(self.kinds)) != len(self.kinds)
        ):
            raise ValueError("kinds are for command keys, each once")
        return self

    @property
    def key(self) -> PublicKey:
        """The key itself."""
        return PublicKey.from_b64(self.pub)

    def usable(self, now: datetime) -> bool:
        """Return whether it is not revoked and ``nbf <= now <= exp``."""
        return self.status is not KeyStatus.REVOKED and self.nbf <= now <= self.exp


class KeyManifest(Payload):
    """One version of the installation's keys.

    Attributes:
        v: 1.
        fleet: the installation.
        version: counts up by one.
        expires: after it, commands that change the host stop; polling and reports go on.
        roots: the keys that sign this manifest and, with it, the next; at most 8.
        threshold: how many of them must sign.
        keys: all other keys, at most 64.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.KEYS

    v: SchemaVersion = 1
    fleet: FleetId
    version: Version
    expires: Timestamp
    roots: list[ManifestRoot] = Field(min_length=1, max_length=limits.MANIFEST_MAX_ROOTS)
    threshold: Version
    keys: list[ManifestKey] = Field(max_length=limits.MANIFEST_MAX_KEYS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.threshold > len(self.roots):
            raise ValueError("a threshold above the number of roots can never be met")
        pubs = [root.pub for root in self.roots] + [key.pub for key in self.keys]
        if len(set(pubs)) != len(pubs):
            raise ValueError("a key stands twice; every key has one use")
        return self

    @property
    def root_keys(self) -> list[PublicKey]:
        """The root keys, in their order."""
        return [root.key for root in self.roots]

    def keys_for(self, use: KeyUse, now: datetime, kind: CommandKind | None = None) -> list[PublicKey]:
        """Return the keys acceptable for a use: not revoked, ``nbf <= now <= exp``.

        Args:
            use: the use; keys of any other are never returned.
            now: the time to judge by; on a host the trusted time.
            kind: leave out command keys narrowed to other kinds. None does not narrow: a caller that verifies before
                it can know the kind asks ``allows_kind`` afterwards.
        """
        return [
            one.key
            for one in self.keys
            if one.use is use and one.usable(now) and (kind is None or one.kinds is None or kind in one.kinds)
        ]

    def allows_kind(self, key: PublicKey, kind: CommandKind) -> bool:
        """Return whether ``key`` is a command key of this manifest that may sign ``kind``; time is not looked at."""
        return any(
            one.use is KeyUse.COMMAND and one.key == key and (one.kinds is None or kind in one.kinds)
            for one in self.keys
        )


def root_fingerprint(manifest: KeyManifest) -> bytes:
    """Return the 32 bytes an enrolment token carries: sha256 over threshold and sorted roots (docs/protocol.md 4)."""
    roots = sorted(key.raw.hex() for key in manifest.root_keys)
    text = f"redflag-roots-v1\n{manifest.threshold}\n" + "".join(f"{root}\n" for root in roots)
    return hashlib.sha256(text.encode("ascii")).digest()
