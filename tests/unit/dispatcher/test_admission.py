from datetime import UTC, datetime, timedelta

from redflag_dispatcher.admission import Held, admit, is_limited, rates_of, room
from redflag_store.fleet_settings import FleetSettings
from redflag_store.gcra import Rate
from redflag_wire.command import CommandKind

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
FAR = NOW + timedelta(days=1)
RATES = {"scan": Rate(600, 60, 60), "reboot": Rate(60, 60, 6), "fleet": Rate(60, 60, 20)}


def test_every_kind_but_cancel_has_a_limit() -> None:
    assert {kind for kind in CommandKind if not is_limited(kind)} == {CommandKind.CANCEL}
    assert rates_of(FleetSettings({}), {"cancel": 1, "no_such_kind": 1}) == {}
    assert set(rates_of(FleetSettings({}), {"scan": 1})) == {"scan", "fleet"}


def test_kinds_burst_is_a_tenth_of_its_minute_and_at_least_one() -> None:
    assert rates_of(FleetSettings({"limits.reboot_per_minute": 3}), {"reboot": 1})["reboot"] == Rate(3, 60, 1)
    assert rates_of(FleetSettings({}), {"reboot": 1})["reboot"].burst == 6


def test_kind_is_bounded_by_its_own_limit_and_all_by_the_fleets() -> None:
    both = admit(RATES, {}, NOW, {"scan": 100, "reboot": 100, "cancel": 1000})
    assert both.counts == {"reboot": 6, "scan": 14, "cancel": 1000}
    # What the fleet's limit cut off was not taken from the kind's own.
    assert admit(RATES, {"scan": both.tats["scan"]}, NOW, {"scan": 100}).counts == {"scan": 20}
    assert admit(RATES, both.tats, NOW, {"scan": 1, "reboot": 1}).counts == {"scan": 0, "reboot": 0}


def test_nothing_limited_takes_nothing() -> None:
    assert admit({}, {}, NOW, {"cancel": 3}).tats == {}


def test_room_names_why_a_kind_waits() -> None:
    assert room(RATES, {}, NOW).kinds == {"scan": 20, "reboot": 6}
    assert room(RATES, {"reboot": FAR}, NOW).held == {"reboot": Held.KIND}
    assert room(RATES, {"fleet": FAR, "reboot": FAR}, NOW).held == {"scan": Held.FLEET, "reboot": Held.KIND}
