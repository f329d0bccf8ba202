"""Who this host is to the server: agent key, agent id, access token and the generation of the renewal secret.

Every change is durable before it is used (docs/protocol.md 8.4). A secret that was issued but is not confirmed stands
beside the confirmed one until the server has answered the confirmation: a lost answer never locks a good agent out.
"""

import secrets
from collections.abc import Callable
from typing import Self

from pydantic import Field

from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import AgentError
from redflag_wire.errors import WireError
from redflag_wire.fields import AccessToken, Count, FleetId, Id, SecretText, Version
from redflag_wire.payload import WireModel
from redflag_wire.payload_types import SignerRole
from redflag_wire.signing import SigningKey

KEY_FILE = "agent.key"
IDENTITY_FILE = "identity.json"


class Generation(WireModel):
    """A generation of the renewal secret.

    Attributes:
        gen: its number.
        secret: 32 bytes in base64.
    """

    gen: Count
    secret: SecretText = Field(repr=False)


class Identity(WireModel):
    """What the network process keeps.

    Attributes:
        server: the origin it belongs to.
        fleet: the installation.
        agent: the id.
        access_token: the newest one.
        confirmed: the generation in force, None until the first confirmation is answered.
        issued: a newer generation that is not confirmed yet, None for none.
    """

    server: str
    fleet: FleetId
    agent: Id
    access_token: AccessToken = Field(repr=False)
    confirmed: Generation | None
    issued: Generation | None
    version: Version = 1

    @property
    def newest(self) -> Generation:
        """The generation to present; presenting one that is issued counts as its confirmation.

        Raises:
            AgentError: the file holds none.
        """
        newest = self.issued or self.confirmed
        if newest is None:
            raise AgentError("identity_damaged", "the identity holds no renewal secret")
        return newest

    def renewed(self, access_token: str, generation: Generation) -> Self:
        """Return the identity with a new token and an issued generation."""
        return self.model_copy(update={"access_token": access_token, "issued": generation})

    def confirm(self) -> Self:
        """Return the identity once the issued generation is in force."""
        return self.model_copy(update={"confirmed": self.newest, "issued": None})


class IdentityStore:
    """The files in the network process's own directory.

    Args:
        files: the directory.
        random: source of new keys.
    """

    def __init__(self, files: DurableDirectory, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._files = files
        self._random = random

    def agent_key(self) -> SigningKey:
        """Return the agent key; made, and made durable, at the first call on this host.

        Raises:
            AgentError: the file is damaged or cannot be written.
        """
        text = self._files.read(KEY_FILE)
        if text is None:
            key = SigningKey.generate(self._random)
            self._files.write(KEY_FILE, key.to_text(SignerRole.AGENT).encode())
            return key
        try:
            return SigningKey.from_text(text.decode("utf-8", "replace"), SignerRole.AGENT)
        except WireError as error:
            raise AgentError("agent_key", f"{self._files.path / KEY_FILE}: {error.detail}") from None

    def load(self) -> Identity | None:
        """Return the identity, None if the host is not enrolled.

        Raises:
            AgentError: the file is damaged.
        """
        data = self._files.read(IDENTITY_FILE)
        if data is None:
            return None
        try:
            return Identity.from_bytes(data)
        except WireError as error:
            raise AgentError(
                "identity_damaged", f"{self._files.path / IDENTITY_FILE}: {error.detail}"
            ) from None

    def save(self, identity: Identity) -> None:
        """Make an identity durable.

        Raises:
            NotDurableError: it could not be; the one of before still stands.
        """
        self._files.write(IDENTITY_FILE, identity.to_bytes())
