"""Enrolling this host's own agent: a token made straight in the database, kept until its seat is taken."""

from collections.abc import Callable
from pathlib import Path

from redflag.keys.durable_file import write_durable
from redflag.keys.registration import Registrar
from redflag.up.data_dir import DataDir
from redflag.up.state import StateFile
from redflag_wire.enrolment_token import EnrolmentToken

TOKEN_FILE = "enrolment.token"  # noqa: S105 - a file's name


class LocalAgent:
    """What `up` knows about the enrolment of this host.

    Args:
        data: the data directory.
        state: remembers which token was made.
        registrar: works on the database.
    """

    def __init__(self, data: DataDir, state: StateFile, registrar: Registrar) -> None:
        self._state = state
        self._registrar = registrar
        self._agent_dir = data.agent
        self._token_file = data.secrets / TOKEN_FILE
        self._enrolled = False  # once true it stays so, and the database is not asked again

    async def token_file(self, root_fingerprint: bytes, random: Callable[[int], bytes]) -> Path:
        """Return the file with this host's token; make a new one when no agent can come of the last.

        The agent reads it only while it has no identity. It stays after its use, because an agent that crashed
        between taking the seat and keeping its identity asks again with the same token.

        Raises:
            OSError: it cannot be written.
        """
        if not await self._usable():
            token = EnrolmentToken.mint(random, root_fingerprint)
            await self._registrar.put_token(token)
            write_durable(self._token_file, token.to_text().encode() + b"\n")
            self._state.state.local_token_id = token.token_id
            self._state.save()
        return self._token_file

    async def enrolled(self) -> str | None:
        """Return None when the host has taken its seat, else why the wait goes on."""
        token_id = self._state.state.local_token_id
        if not self._enrolled and token_id is not None:
            self._enrolled = bool(await self._registrar.token_used(token_id))
        return None if self._enrolled else "it has not enrolled yet"

    async def _usable(self) -> bool:
        token_id = self._state.state.local_token_id
        if token_id is None or not self._token_file.is_file():
            return False
        used = await self._registrar.token_used(token_id)
        if used is None:
            return False
        # Somebody removed the agent's state to enrol it anew: the seat taken before is no use to it.
        return not used or any(self._agent_dir.iterdir())
