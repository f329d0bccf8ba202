"""The version numbers of the wire, in one place."""

from typing import Final

WIRE_VERSION: Final = 1
"""The ``v`` of every payload this library reads and writes; another one is refused by the schema."""

AGENT_PLANE_PREFIX: Final = "/agent/v1"
"""Path prefix of the gateway's calls (docs/protocol.md 9)."""
