"""Server nonces and the memory of signature nonces (docs/protocol.md 8.3).

Guarantees: a server nonce is accepted in the bucket of time it was made in and in the next one, at any gateway that
shares the key; a signature nonce is accepted once per process while a server nonce it was signed with could still
be accepted. The memory is bounded: when it is full its older half is dropped. That is safe because every call of an
agent is idempotent; the memory only makes a replay visible.
"""

import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from redflag_gateway.shared_key import SharedKey, Use
from redflag_wire import base64_strict

BUCKET_S = 900  # seconds a server nonce stays the newest
REMEMBERED_MAX = 1_000_000  # signature nonces per half of the memory, about 100 bytes each
_DIGEST_BYTES = 16


class ServerNonces:
    """Makes and checks stateless nonces: the code of a bucket of time.

    Args:
        key: shared by all gateways.
        use: ``Use.NONCE`` for requests, ``Use.CHALLENGE`` for enrolment.
        bucket_s: seconds in one bucket.
    """

    def __init__(self, key: SharedKey, use: Use = Use.NONCE, bucket_s: int = BUCKET_S) -> None:
        self._key = key
        self._use = use
        self._bucket_s = bucket_s
        self._bucket = -1
        self._accepted = ("", "")  # of the current and the previous bucket

    def _turn(self, now: datetime) -> None:
        bucket = int(now.timestamp()) // self._bucket_s
        if bucket != self._bucket:
            self._bucket, self._accepted = bucket, (self._make(bucket), self._make(bucket - 1))

    def _make(self, bucket: int) -> str:
        return base64_strict.encode_url(self._key.code(self._use, bucket.to_bytes(8, "big", signed=True)))

    def current(self, now: datetime) -> str:
        """Return the nonce of this moment's bucket."""
        self._turn(now)
        return self._accepted[0]

    def accepts(self, nonce: str, now: datetime) -> bool:
        """Say whether a nonce is of the current or the previous bucket, in constant time."""
        self._turn(now)
        given = nonce.encode("utf-8", "replace")
        current, previous = self._accepted
        fits_current = hmac.compare_digest(given, current.encode())
        return hmac.compare_digest(given, previous.encode()) or fits_current


class SeenNonces:
    """Remembers which signature nonces were used, in two halves that take turns.

    Args:
        limit: nonces per half.
        bucket_s: seconds after which the halves change places; as long as a server nonce's bucket.
    """

    def __init__(self, limit: int = REMEMBERED_MAX, bucket_s: int = BUCKET_S) -> None:
        self._limit = limit
        self._bucket_s = bucket_s
        self._bucket = -1
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._newer) + len(self._older)

    def remember(self, agent: UUID, nonce: str, now: datetime) -> bool:
        """Remember a nonce of an agent; say whether it is new."""
        self._turn(int(now.timestamp()) // self._bucket_s)
        entry = hashlib.blake2b(agent.bytes + nonce.encode(), digest_size=_DIGEST_BYTES).digest()
        if entry in self._newer or entry in self._older:
            return False
        if len(self._newer) >= self._limit:
            self._older, self._newer = self._newer, set()
        self._newer.add(entry)
        return True

    def _turn(self, bucket: int) -> None:
        # A nonce signed at the very end of bucket b with the server nonce of b is accepted until the end of b + 1,
        # so what was seen in b must be known through all of b + 1: two halves do.
        if bucket == self._bucket:
            return
        self._older = self._newer if bucket == self._bucket + 1 else set()
        self._newer = set()
        self._bucket = bucket
