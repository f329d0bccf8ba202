"""Where a report stands in its agent's chain: next, early, late or forked. Pure.

Every agent numbers its reports without a gap (``rseq``, from 1, over both of its keys) and each key's reports name
the digest of the one before (``prev``; None for the first). A break is an event for people, never a reason to drop
what a host signed: the report is stored all the same (docs/protocol.md 6).

What is confirmed to the host is the highest number up to which everything is stored. Numbers beyond a gap wait in
``ahead``. A gap is given up when the host shows that it has nothing to fill it with: a host sends what is not confirmed
again, beginning with its lowest number, so when the lowest of ``ahead`` comes again a while after it came first, the
numbers below are gone (the database is an older one, restored, and the host had dropped what was confirmed before).
``ahead`` is bounded besides. A number of a gap given up that does come later is stored all the same.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

GAP_PATIENCE = timedelta(minutes=2)  # from the first to the second coming of the lowest number beyond a gap
AHEAD_MAX = 1024  # numbers kept beyond a gap, per agent; then the gap is given up


class ChainFault(StrEnum):
    """Why a report does not follow from the one before it."""

    GAP = "report_gap"  # numbers are missing before it
    FORK = "report_fork"  # its number is taken by other bytes, or its prev names another report


@dataclass(slots=True)
class Chain:
    """What is stored of one agent's chain; changed by ``follow``.

    Attributes:
        confirmed: highest number up to which every report is stored, 0 for none.
        ahead: stored numbers above it.
        last_by_agent: digest of the newest report the agent key signed, None for none.
        last_by_receipt: the same for the receipt key.
        newest_by_agent: number of that report.
        newest_by_receipt: number of that report.
    """

    confirmed: int = 0
    ahead: set[int] = field(default_factory=set)
    last_by_agent: str | None = None
    last_by_receipt: str | None = None
    newest_by_agent: int = 0
    newest_by_receipt: int = 0

    def follow(self, rseq: int, digest: str, prev: str | None, *, by_receipt_key: bool) -> list[ChainFault]:
        """Take a new report (its id was never seen before) into the chain.

        Args:
            rseq: its number.
            digest: of its payload.
            prev: the digest it names.
            by_receipt_key: which of the two chains it continues.

        Returns:
            What is wrong with its place; nothing for a report that follows.
        """
        faults: list[ChainFault] = []
        if rseq <= self.confirmed or rseq in self.ahead:
            faults.append(ChainFault.FORK)
        else:
            if rseq != self.confirmed + 1 and rseq - 1 not in self.ahead:
                faults.append(ChainFault.GAP)
            self.ahead.add(rseq)
            self._close()
        newest = self.newest_by_receipt if by_receipt_key else self.newest_by_agent
        last = self.last_by_receipt if by_receipt_key else self.last_by_agent
        if rseq > newest:
            # With numbers missing in between, the one it names may just not be here yet.
            complete = ChainFault.GAP not in faults and not self.ahead
            if prev != last and complete and ChainFault.FORK not in faults:
                faults.append(ChainFault.FORK)
            if by_receipt_key:
                self.last_by_receipt, self.newest_by_receipt = digest, rseq
            else:
                self.last_by_agent, self.newest_by_agent = digest, rseq
        return faults

    def skip(self, rseq: int) -> None:
        """Count a number as stored whose report cannot be."""
        if rseq > self.confirmed:
            self.ahead.add(rseq)
            self._close()

    def give_up_gap(self, rseq: int, *, first: datetime, now: datetime) -> range | None:
        """Take in that a stored report came again; return the numbers given up, None when nothing was.

        Args:
            rseq: its number.
            first: when it was stored.
            now: the server's time.
        """
        if not self.ahead or rseq != min(self.ahead) or now - first < GAP_PATIENCE:
            return None
        lost = range(self.confirmed + 1, rseq)
        self.confirmed = rseq - 1
        self._close()
        return lost

    def _close(self) -> None:
        while self.confirmed + 1 in self.ahead:
            self.confirmed += 1
            self.ahead.discard(self.confirmed)
        if len(self.ahead) > AHEAD_MAX:
            self.confirmed = min(self.ahead) - 1
            self._close()
