"""How many connections may stand, in all and from one address. Counting only.

An address is bounded in the connections that have not shown a valid signature yet, and in no others: a thousand
agents behind one shared address are served, while nobody without a key can take all places from there.
"""

import ipaddress
from enum import Enum
from typing import Final

UNPROVEN_PER_ADDRESS: Final = 32
_IPV6_NETWORK_BITS: Final = 64  # what one customer has; a bound per single address would be none


class NoPlace(Enum):
    """Why a connection is refused."""

    ALL_TAKEN = "all_taken"
    ADDRESS = "address"


class Place:
    """One connection's place; give it back with `leave`."""

    __slots__ = ("_door", "_gone", "key", "proven")

    def __init__(self, door: "Doorkeeper", key: str | None) -> None:
        self._door = door
        self.key = key
        self.proven = False
        self._gone = False

    def prove(self) -> None:
        """Note that a valid signature came over this connection."""
        if not self.proven and not self._gone:
            self.proven = True
            self._door.proved(self.key)

    def leave(self) -> None:
        """Give the place back; harmless when done twice."""
        if not self._gone:
            self._gone = True
            self._door.left(self.key, proven=self.proven)


class Doorkeeper:
    """Gives places.

    Args:
        connections_max: connections at a time.
        per_address: unproven connections of one address; None for no bound.
        loopback_too: whether that bound holds for loopback, where a proxy or this machine's own agent comes from.
    """

    def __init__(self, connections_max: int, per_address: int | None, *, loopback_too: bool) -> None:
        self._connections_max = connections_max
        self._per_address = per_address
        self._loopback_too = loopback_too
        self._unproven: dict[str, int] = {}
        self.connections = 0
        self.unproven = 0

    def admit(self, address: str) -> Place | NoPlace:
        """Give a place to a new connection, or say why there is none."""
        if self.connections >= self._connections_max:
            return NoPlace.ALL_TAKEN
        key = self._key(address)
        if key is not None:
            count = self._unproven.get(key, 0)
            if self._per_address is not None and count >= self._per_address:
                return NoPlace.ADDRESS
            self._unproven[key] = count + 1
        self.connections += 1
        self.unproven += 1
        return Place(self, key)

    def proved(self, key: str | None) -> None:
        """Take a connection out of its address's count."""
        self.unproven -= 1
        if key is not None:
            left = self._unproven[key] - 1
            if left:
                self._unproven[key] = left
            else:
                del self._unproven[key]

    def left(self, key: str | None, *, proven: bool) -> None:
        """Take a connection out of all counts."""
        self.connections -= 1
        if not proven:
            self.proved(key)

    def _key(self, text: str) -> str | None:
        """Return what an address counts as; None where it is not counted."""
        if self._per_address is None:
            return None
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return text
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is None:
                if address.is_loopback and not self._loopback_too:
                    return None
                return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
            address = address.ipv4_mapped
        return None if address.is_loopback and not self._loopback_too else str(address)
