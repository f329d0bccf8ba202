"""How many of the requested commands may be signed now: the fleet's limit and each kind's. Pure.

Cancels are never held back, and a kind nobody knows is not counted: the signer refuses it. What is not admitted stays
``requested`` and waits; nothing is lost by a limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from redflag_store.fleet_settings import CATALOG, FleetSettings
from redflag_store.gcra import Rate, free, grant
from redflag_store.queries.rate_limits import FLEET, fleet_rate, kind_rate


class Held(StrEnum):
    """Why a kind's commands wait."""

    KIND = "kind_limit"
    FLEET = "fleet_limit"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may be signed.

    Attributes:
        counts: how many of each kind.
        tats: the moments to be stored, by key.
    """

    counts: dict[str, int]
    tats: dict[str, datetime]


@dataclass(frozen=True, slots=True)
class Room:
    """What could be signed at the moment.

    Attributes:
        kinds: how many of each kind, bounded by its own limit.
        fleet: how many of all counted kinds together.
        held: the kinds of which not one could be signed.
    """

    kinds: dict[str, int]
    fleet: int
    held: dict[str, Held]


def is_limited(kind: str) -> bool:
    """Whether commands of this kind count at all."""
    return f"limits.{kind}_per_minute" in CATALOG


def rates_of(settings: FleetSettings, kinds: Mapping[str, object]) -> dict[str, Rate]:
    """Return the limits that concern these kinds, by the key they are stored under."""
    limited = {kind: kind_rate(settings, kind) for kind in kinds if is_limited(kind)}
    return {**limited, FLEET: fleet_rate(settings)} if limited else {}


def room(rates: Mapping[str, Rate], tats: Mapping[str, datetime], now: datetime) -> Room:
    """Return what could be signed at ``now``; nothing is taken."""
    fleet = free(rates[FLEET], tats.get(FLEET), now) if rates else 0
    kinds = {kind: free(rate, tats.get(kind), now) for kind, rate in rates.items() if kind != FLEET}
    held = {
        kind: Held.KIND if not count else Held.FLEET for kind, count in kinds.items() if not min(count, fleet)
    }
    return Room({kind: min(count, fleet) for kind, count in kinds.items()}, fleet, held)


def admit(
    rates: Mapping[str, Rate], tats: Mapping[str, datetime], now: datetime, wanted: Mapping[str, int]
) -> Admitted:
    """Take from the limits what they let pass.

    Args:
        rates: the limits, by kind and for the fleet; a kind without one is let pass whole.
        tats: where they stand.
        now: the server's clock.
        wanted: how many of each kind are asked for.
    """
    counts = dict(wanted)
    for kind in counts.keys() & rates.keys():
        counts[kind] = grant(rates[kind], tats.get(kind), now, wanted[kind]).count
    if not rates:
        return Admitted(counts, {})
    limited = sorted(counts.keys() & rates.keys())
    left = grant(rates[FLEET], tats.get(FLEET), now, sum(counts[kind] for kind in limited)).count
    taken = left
    for kind in limited:
        counts[kind] = min(counts[kind], left)
        left -= counts[kind]
    moments = {kind: grant(rates[kind], tats.get(kind), now, counts[kind]).tat for kind in limited}
    return Admitted(counts, {**moments, FLEET: grant(rates[FLEET], tats.get(FLEET), now, taken).tat})
