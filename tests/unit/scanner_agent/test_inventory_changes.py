"""Inventories by digest: changes rebuild the whole, and are sent only against what the server certainly holds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redflag_scanner_agent.inventory_changes import applied, changes, has_doubles, worth_it
from redflag_scanner_agent.inventory_memory import IN_FLIGHT_MAX, MANAGERS_MAX, InventoryMemory
from redflag_scanner_agent.journal_file import JournalFile
from redflag_scanner_agent.spool import Place, Signed, Spool
from redflag_wire import inventory_digest
from redflag_wire.report import CommandState
from redflag_wire.report_bodies import Inventory, InventoryChanges, UpdateItem
from redflag_wire.report_body_codec import seal_body
from tests.unit.scanner_agent.host import Host

names = st.text(alphabet="abcä-+", min_size=1, max_size=3)
items = st.builds(
    UpdateItem,
    manager=st.just("apt"),
    name=names,
    arch=st.sampled_from(["amd64", "i386"]),
    installed=st.none() | st.sampled_from(["1.0", "1.1"]),
    candidate=st.sampled_from(["1.1", "1.2", "2:1"]),
    origin=st.just("Debian"),
    suite=st.sampled_from(["stable", ""]),
    security=st.booleans(),
    state=st.sampled_from(["available", "held", "phased"]),
    size=st.none() | st.integers(0, 10**9),
)
inventories = st.lists(items, max_size=30, unique_by=lambda row: (row.name, row.arch))


@settings(max_examples=100, deadline=None)
@given(inventories, inventories)
def test_changes_applied_to_the_base_are_the_new_inventory(
    base: list[UpdateItem], new: list[UpdateItem]
) -> None:
    changed, gone = changes(base, new)
    after = applied(base, changed, gone)
    assert inventory_digest.of(after) == inventory_digest.of(new)
    assert {(row.name, row.arch): row for row in after} == {(row.name, row.arch): row for row in new}
    assert len(changed) + len(gone) <= len(base) + len(new)
    assert (not changed and not gone) == (inventory_digest.of(base) == inventory_digest.of(new))


def test_package_listed_twice_has_no_changes() -> None:
    row = item("a")
    other = row.model_copy(update={"candidate": "9"})
    assert has_doubles([row, other])
    with pytest.raises(ValueError, match="twice"):
        changes([row], [row, other])


def test_changes_larger_than_the_whole_are_not_worth_it() -> None:
    assert worth_it(1, 0, 0)
    assert worth_it(5, 5, 20)
    assert not worth_it(6, 5, 20)


def item(name: str, candidate: str = "1.1") -> UpdateItem:
    return UpdateItem(
        manager="apt",
        name=name,
        arch="amd64",
        installed="1.0",
        candidate=candidate,
        origin="Debian",
        suite="stable",
        security=False,
        state="available",
    )


def inventory(*rows: UpdateItem, manager: str = "apt") -> Inventory:
    return Inventory(
        manager=manager,
        scanned_at=datetime(2026, 11, 21, tzinfo=UTC),
        source_age_s=1,
        reboot_required=False,
        updates=list(rows),
    )


ROWS = [item(f"p{number}") for number in range(20)]


class Rig:
    """A spool and the memory beside it."""

    def __init__(self, file: JournalFile) -> None:
        self.spool, self.memory = Spool(file), InventoryMemory(file)

    def send(self, found: Inventory, *, full: bool = False) -> Inventory | InventoryChanges:
        packed = self.memory.pack(found, full=full)

        def sign(_place: Place) -> Signed:
            return Signed(b"envelope", "sha256:" + "0" * 64)

        number = self.spool.last_rseq + 1
        rseq = self.spool.add_receipt(f"r{number}", sign, cmd="c", state=CommandState.DONE)
        if packed.keep is not None:
            self.memory.keep(packed.keep, rseq=rseq)
        return packed.body

    def confirm(self) -> None:
        self.spool.confirm(self.spool.last_rseq)


@pytest.fixture
def rig(journal_file: JournalFile) -> Rig:
    return Rig(journal_file)


def test_whole_until_it_is_confirmed_then_nothing_then_changes(rig: Rig) -> None:
    first = rig.send(inventory(*ROWS))
    assert isinstance(first, Inventory)
    assert isinstance(rig.send(inventory(*ROWS)), Inventory)  # not confirmed yet
    rig.confirm()
    same = rig.send(inventory(*reversed(ROWS)))
    assert isinstance(same, InventoryChanges)
    assert same.base == same.digest == first.digest
    assert same.changed == []
    assert same.gone == []
    assert len(same.to_bytes()) < 400
    new = [item("p0", "2"), *ROWS[2:], item("new")]
    less = rig.send(inventory(*new))
    assert isinstance(less, InventoryChanges)
    assert less.base == first.digest
    assert [row.name for row in less.changed] == ["new", "p0"]
    assert [key.name for key in less.gone] == ["p1"]
    assert inventory_digest.of(applied(ROWS, less.changed, less.gone)) == less.digest


def test_while_another_one_is_on_its_way_the_whole_is_sent(rig: Rig) -> None:
    rig.send(inventory(*ROWS))
    rig.confirm()
    assert isinstance(rig.send(inventory(*ROWS[1:])), InventoryChanges)
    assert isinstance(rig.send(inventory(*ROWS)), Inventory)  # the server may hold either by now
    rig.confirm()
    assert isinstance(rig.send(inventory(*ROWS)), InventoryChanges)


def test_full_is_the_whole_and_many_changes_are_too(rig: Rig) -> None:
    rig.send(inventory(*ROWS))
    rig.confirm()
    assert isinstance(rig.send(inventory(*ROWS), full=True), Inventory)
    rig.confirm()
    others = [item(f"q{number}") for number in range(20)]
    assert isinstance(rig.send(inventory(*others)), Inventory)


def test_body_that_waits_for_its_number_is_confirmed_with_it(rig: Rig) -> None:
    packed = rig.memory.pack(inventory(*ROWS), full=False)
    ref, sealed = seal_body(packed.body.to_bytes())
    assert packed.keep is not None
    from redflag_wire.report import ReportKind  # noqa: PLC0415 - one test's own

    pending = rig.spool.add_pending(ReportKind.INVENTORY, sealed, ref)
    rig.memory.keep(packed.keep, pending=pending)
    place = rig.spool.reserve("r1")
    rig.confirm()
    assert isinstance(rig.memory.pack(inventory(*ROWS), full=False).body, Inventory)
    rig.spool.commit(place, Signed(b"envelope", "sha256:" + "0" * 64), sealed, pending=pending)
    rig.confirm()
    assert isinstance(rig.memory.pack(inventory(*ROWS), full=False).body, InventoryChanges)


def test_memory_is_bounded_and_survives_a_restart(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "one.db")
    rig = Rig(file)
    for number in range(20):
        rig.send(inventory(item("a", str(number))))
    count = "SELECT count(*) FROM inventory"
    assert file.db.execute(count).fetchone()[0] == IN_FLIGHT_MAX + 1
    for number in range(MANAGERS_MAX + 5):
        rig.send(inventory(item("a"), manager=f"m{number}"))
    managers = file.db.execute("SELECT count(DISTINCT manager) FROM inventory").fetchone()[0]
    assert managers == MANAGERS_MAX
    rig.confirm()
    last = rig.send(inventory(item("a"), manager="m30"))
    file.close()
    again = JournalFile(tmp_path / "one.db")
    packed = InventoryMemory(again).pack(inventory(item("a"), manager="m30"), full=False)
    again.close()
    assert isinstance(last, InventoryChanges)
    assert isinstance(packed.body, InventoryChanges)


def test_memory_that_was_damaged_sends_the_whole(rig: Rig, journal_file: JournalFile) -> None:
    rig.send(inventory(*ROWS))
    rig.confirm()
    journal_file.db.execute("UPDATE inventory SET rows = x'00'")
    assert isinstance(rig.send(inventory(*ROWS[1:])), Inventory)


async def test_scan_after_a_confirmed_one_is_tiny_and_full_is_whole(host: Host) -> None:
    async def scanned(**params: object) -> object:
        await host.give(host.command(params={"subsystem": "fake", **params}))
        await host.work()
        found = host.bodies()[-1]
        host.spool.confirm(host.spool.last_rseq)
        return found

    assert isinstance(await scanned(), Inventory)
    host.start()
    host.beacon()
    second = await scanned()
    assert isinstance(second, InventoryChanges)
    assert second.changed == []
    host.manager.installed["hello"] = "1.1"
    third = await scanned()
    assert isinstance(third, InventoryChanges)
    assert [key.name for key in third.gone] == ["hello"]
    assert isinstance(await scanned(full=True), Inventory)
