"""Does an inventory fit what is stored, and what is held of it afterwards? Pure (docs/protocol.md 6).

A host that knows that the server confirmed its inventory sends only what changed since, against the digest of that
inventory. The digest is the host's name for its own set: the server never works with another's, so it compares and
does not compute. Changes against a set that is not the one stored are not taken at all, and the whole is asked for.

A set some of whose rows were broken is stored without them. Its digest is then remembered as the host's only, never as
that of what is stored, so it never counts as unchanged; changes against it still fit, because they touch other rows.
The whole is asked for again once a day: the same rows may be good by then, for a newer server.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from redflag_dispatcher.report_body import ListedInventory
from redflag_store.queries.held_inventories import Held
from redflag_wire.limits import UPDATES_MAX

ASK_AGAIN = timedelta(minutes=15)  # a host that never sends the whole is asked at most this often
ASK_FOR_REFUSED = timedelta(days=1)  # the whole of a set with rows that were left out


class Take(StrEnum):
    """What is done with an inventory."""

    WHOLE = "whole"
    CHANGES = "changes"
    UNCHANGED = "unchanged"
    NOTHING = "nothing"  # it does not fit


def judge(held: Held | None, sent: ListedInventory) -> Take:
    """Say what to do with an inventory, given what is held."""
    if sent.base is None:
        same = held is not None and sent.digest is not None and held.digest == sent.digest
        return Take.UNCHANGED if same and not sent.bad else Take.WHOLE
    if held is None or sent.base not in {held.digest, held.host_digest}:
        return Take.NOTHING
    if sent.digest == sent.base and not (sent.rows or sent.gone or sent.bad):
        return Take.UNCHANGED
    if held.rows + len(sent.rows) > UPDATES_MAX:
        return Take.NOTHING  # changes upon changes would grow without an end; the whole is bounded by itself
    return Take.CHANGES


def after(
    agent: UUID, held: Held | None, sent: ListedInventory, take: Take, *, added: int, at: datetime
) -> Held | None:
    """What is held once this was done.

    Args:
        agent: the host.
        held: what was held before.
        sent: the inventory.
        take: what `judge` said.
        added: updates more (or less) than before, for changes.
        at: now.

    Returns:
        None when nothing is to be written: it did not fit.
    """
    if take is Take.NOTHING:
        return None
    if take is Take.UNCHANGED and held is not None:
        return replace(held, looked_at=at, source_age_s=sent.source_age_s)
    whole = take is Take.WHOLE or held is None
    refused = len(sent.bad) + (0 if whole or held is None else held.refused_rows)
    return Held(
        agent_id=agent,
        manager=sent.manager,
        digest=None if refused else sent.digest,
        host_digest=sent.digest,
        refused_rows=refused,
        rows=len(sent.rows) if whole or held is None else max(0, held.rows + added),
        source_age_s=sent.source_age_s,
        looked_at=at,
        changed_at=at,
        asked_at=None if held is None else held.asked_at,
    )


def asks_for_whole(held: Held | None, take: Take, *, at: datetime) -> bool:
    """Whether the whole inventory is to be asked for now."""
    asked = None if held is None else held.asked_at
    if take is Take.NOTHING:
        return asked is None or at - asked >= ASK_AGAIN
    if take is Take.WHOLE or held is None or not held.refused_rows:
        return False
    return at - (asked or held.changed_at) >= ASK_FOR_REFUSED
