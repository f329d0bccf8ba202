"""The beacon payload (docs/protocol.md 4): trusted time, revocation hint and stop switch in one, every 60 s."""

from typing import ClassVar

from pydantic import Field

from redflag_wire import limits
from redflag_wire.fields import Count, FleetId, Name, SchemaVersion, Version
from redflag_wire.payload import Payload, WireModel
from redflag_wire.payload_types import PayloadType
from redflag_wire.timestamps import Timestamp


class StopEpoch(WireModel):
    """A stop switch: commands of the scope signed in an earlier epoch do not start.

    Attributes:
        scope: what is stopped, for example ``fleet`` or a kind.
        epoch: counts up with each stop.
    """

    scope: Name
    epoch: Count


class Beacon(Payload):
    """What the signer says about now.

    Attributes:
        v: 1.
        fleet: the installation.
        now: the signer's time.
        manifest_version: the newest key manifest; a host with an older one fetches the chain.
        stop: the stop switches, at most 256.
        min_agent_version: agents below should update; None for no such wish.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.BEACON

    v: SchemaVersion = 1
    fleet: FleetId
    now: Timestamp
    manifest_version: Version
    stop: list[StopEpoch] = Field(max_length=limits.STOPS_MAX)
    min_agent_version: Name | None
