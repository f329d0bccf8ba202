"""The newest signed beacon, from the bucket ``rf-beacon``, passed on to agents as it is.

Guarantees: what is passed on has the form of a beacon's envelope. Whether it is genuine is for the hosts to decide:
they verify it with keys of their own, and the gateway is not to be trusted with that.
"""

from redflag_broker_config.subjects import BEACON_KEY
from redflag_ops.logging import get_logger
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError
from redflag_wire.payload_types import PayloadType


class Beacon:
    """Holds the newest beacon's envelope."""

    def __init__(self) -> None:
        self._envelope: bytes | None = None
        self._log = get_logger()

    @property
    def envelope(self) -> bytes | None:
        """The envelope's bytes, a JSON object; None while there is none."""
        return self._envelope

    def note(self, key: str, value: bytes | None) -> None:
        """Take over an entry of the bucket; one that cannot be read leaves the last good one in place."""
        if key != BEACON_KEY:
            return
        if value is None:
            self._envelope = None
            return
        try:
            payload_type = parse_envelope(value).payload_type
        except WireError as error:
            self._log.error("beacon.refused", code=error.code)
            return
        if payload_type != PayloadType.BEACON:
            self._log.error("beacon.refused", code="payload_type")
            return
        self._envelope = value
