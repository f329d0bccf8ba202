"""What an inventory changes in the state of a host's packages. Pure; decides on differences only.

An approval names a version, and so does a rejection: when the candidate becomes another one it lapses, and the
package is pending again (docs/protocol.md 3). A package being installed keeps its state until the result comes; one
that was set to be ignored stays so until an operator takes that back. A package that is listed no more is up to date
or gone from the host: it comes to rest.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from redflag_store.queries.inventory import Difference, Listed, PackageRow, Stored, UpdateEventRow
from redflag_store.states import Availability, PackageUpdateState, UpdateEventKind

_KEPT_OVER_A_NEW_CANDIDATE = frozenset({PackageUpdateState.IGNORED, PackageUpdateState.INSTALLING})


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one package.

    Attributes:
        row: as it is to be stored; None when it comes to rest.
        event: what happened, None when nothing worth a record did.
    """

    row: PackageRow | None
    event: UpdateEventRow | None


def decide(difference: Difference, *, at: datetime, new_id: Callable[[], UUID]) -> Decision:
    """Decide on one difference between inventory and store."""
    listed, stored = difference.listed, difference.stored

    def event(
        kind: UpdateEventKind, from_version: str | None, to_version: str | None, detail: str = "{}"
    ) -> UpdateEventRow:
        return UpdateEventRow(
            new_id(), at, difference.key, kind.value, from_version, to_version, detail=detail
        )

    if listed is None:
        old = None if stored is None else stored.installed
        was = None if stored is None else stored.candidate
        return Decision(None, event(UpdateEventKind.GONE, old, was))
    if stored is None or stored.state == PackageUpdateState.UPDATED:
        row = PackageRow(listed, _fresh(listed).value, None, None)
        return Decision(row, event(UpdateEventKind.DISCOVERED, listed.installed, listed.candidate))
    if listed.candidate != stored.candidate:
        return Decision(
            _with_new_candidate(listed, stored),
            event(UpdateEventKind.CHANGED, stored.candidate, listed.candidate, _lapsed(stored)),
        )
    row = PackageRow(listed, _same_candidate(listed, stored), stored.approved_version, stored.command_id)
    if listed.installed != stored.installed or listed.availability != stored.availability:
        return Decision(row, event(UpdateEventKind.CHANGED, stored.candidate, listed.candidate))
    return Decision(row, None)


def _lapsed(stored: Stored) -> str:
    """What an operator had said of the candidate that is no more, as the detail of the event."""
    said = stored.state == PackageUpdateState.REJECTED or stored.approved_version is not None
    rejected = stored.state == PackageUpdateState.REJECTED
    return json.dumps({"lapsed": "rejected" if rejected else "approved"}) if said else "{}"


def _fresh(listed: Listed) -> PackageUpdateState:
    held = listed.availability == Availability.HELD
    return PackageUpdateState.HELD if held else PackageUpdateState.PENDING


def _with_new_candidate(listed: Listed, stored: Stored) -> PackageRow:
    if stored.state in _KEPT_OVER_A_NEW_CANDIDATE:
        return PackageRow(listed, stored.state, None, stored.command_id)
    return PackageRow(listed, _fresh(listed).value, None, None)


def _same_candidate(listed: Listed, stored: Stored) -> str:
    if stored.state in {PackageUpdateState.HELD, PackageUpdateState.PENDING}:
        return _fresh(listed).value
    return stored.state
