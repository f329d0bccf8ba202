"""What a gateway tells of itself on ``rf.up.event.<n>`` (ARCHITECTURE.md 3): closed, bounded, unsigned.

A gateway holds no key that anybody rests on, so this is its word and nothing more; whoever stores it says so.
"""

from typing import Final, Literal

from pydantic import Field

from redflag_wire.fields import Code, Count, JsonObject, Line, Name, SchemaVersion
from redflag_wire.payload import WireModel
from redflag_wire.timestamps import Timestamp

EVENT_MAX_BYTES: Final = 16_384  # of one event as it travels


class GatewayEvent(WireModel):
    """Something an operator should know about a gateway.

    Attributes:
        v: 1.
        gateway: how it names itself.
        at: its clock.
        severity: how bad.
        code: stable.
        message: for people, constant for its code.
        count: how often it happened since it was told last, at least 1.
        data: of the last time.
    """

    v: SchemaVersion = 1
    gateway: Name
    at: Timestamp
    severity: Literal["info", "warning", "error"]
    code: Code
    message: Line
    count: Count = 1
    data: JsonObject = Field(default_factory=dict)
