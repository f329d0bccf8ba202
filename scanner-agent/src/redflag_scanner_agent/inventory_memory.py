"""What the server is known to hold of each package manager's inventory (docs/protocol.md 6).

Guarantees:
1. Changes are sent only against an inventory whose report the server has confirmed (`rseq`), and only while no other
   inventory of that manager is on its way: the server then holds exactly the base.
2. An inventory and its report are one transaction with the report's number; a crash leaves neither or both.
3. Bounded: per manager one base and IN_FLIGHT_MAX others, each packed, of the MANAGERS_MAX managers seen last.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

from redflag_ops.logging import get_logger
from redflag_scanner_agent.inventory_changes import changes, has_doubles, worth_it
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire import inventory_digest, limits
from redflag_wire.report_bodies import Inventory, InventoryChanges, UpdateItem

IN_FLIGHT_MAX = 4  # inventories of one manager remembered until their reports are confirmed
MANAGERS_MAX = limits.CAPABILITIES_MAX

log = get_logger()


@dataclass(frozen=True, slots=True)
class Packed:
    """An inventory as it is sent.

    Attributes:
        body: the whole, or the changes.
        keep: the whole inventory with its digest, to be remembered with the report; None when the server holds it.
    """

    body: Inventory | InventoryChanges
    keep: Inventory | None


class InventoryMemory:
    """The inventories in a journal file.

    Args:
        file: the open file, shared with the spool.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self._db = file.db

    def pack(self, found: Inventory, *, full: bool) -> Packed:
        """Return what to send of a fresh inventory.

        Args:
            found: all of it.
            full: send all of it, whatever is confirmed.
        """
        whole = found.model_copy(update={"digest": inventory_digest.of(found.updates)})
        base = None if full else self._base(found.manager)
        if base is None or whole.digest is None:
            return Packed(whole, whole)
        base_digest, rows = base
        if base_digest == whole.digest:
            return Packed(_changes(whole, base_digest, [], []), None)
        before = _unpack(rows, base_digest)
        if before is None or has_doubles(before) or has_doubles(whole.updates):
            return Packed(whole, whole)
        changed, gone = changes(before, whole.updates)
        if not worth_it(len(changed), len(gone), len(whole.updates)):
            return Packed(whole, whole)
        return Packed(_changes(whole, base_digest, changed, gone), whole)

    def keep(self, found: Inventory, *, rseq: int | None = None, pending: int | None = None) -> None:
        """Remember an inventory that is on its way, in the transaction that keeps its report.

        Args:
            found: all of it, with its digest.
            rseq: its report's number, if it has one.
            pending: names the body that waits for a number, if it does.

        Raises:
            JournalError: the disk refused.
        """
        with self._file.transaction():
            self._db.execute(
                "INSERT INTO inventory (manager, digest, rows, rseq, pending) VALUES (?, ?, ?, ?, ?)",
                (found.manager, found.digest, _pack(found.updates), rseq, pending),
            )
            self._prune(found.manager)

    def _base(self, manager: str) -> tuple[str, bytes] | None:
        """Return digest and packed rows of what the server certainly holds."""
        newest = self._db.execute(
            "SELECT digest, rows, confirmed FROM inventory WHERE manager = ? ORDER BY id DESC LIMIT 1",
            (manager,),
        ).fetchone()
        if newest is None or not newest["confirmed"]:
            return None
        return str(newest["digest"]), bytes(newest["rows"])

    def _prune(self, manager: str) -> None:
        # The newest confirmed one is of no use either as soon as another is on its way; it stays until that one is
        # confirmed only because one more row costs less than a rule for it.
        self._db.execute(
            "DELETE FROM inventory WHERE manager = ? AND id NOT IN"
            " (SELECT id FROM inventory WHERE manager = ? ORDER BY id DESC LIMIT ?)",
            (manager, manager, IN_FLIGHT_MAX + 1),
        )
        self._db.execute(
            "DELETE FROM inventory WHERE manager = ? AND confirmed = 1 AND id <"
            " (SELECT max(id) FROM inventory WHERE manager = ? AND confirmed = 1)",
            (manager, manager),
        )
        self._db.execute(
            "DELETE FROM inventory WHERE manager NOT IN"
            " (SELECT manager FROM inventory GROUP BY manager ORDER BY max(id) DESC LIMIT ?)",
            (MANAGERS_MAX,),
        )


def _changes(whole: Inventory, base: str, changed: list[UpdateItem], gone: list[Any]) -> InventoryChanges:
    assert whole.digest is not None  # noqa: S101 - made by pack
    return InventoryChanges(
        manager=whole.manager,
        scanned_at=whole.scanned_at,
        source_age_s=whole.source_age_s,
        reboot_required=whole.reboot_required,
        base=base,
        digest=whole.digest,
        changed=changed,
        gone=gone,
        problems=whole.problems,
    )


def _pack(rows: list[UpdateItem]) -> bytes:
    return zlib.compress(json.dumps([row.model_dump(mode="json") for row in rows]).encode())


def _unpack(data: bytes, digest: str) -> list[UpdateItem] | None:
    """Return the rows, None when they are not what the digest says: the whole inventory is sent then."""
    try:
        rows = [UpdateItem.model_validate(row) for row in json.loads(zlib.decompress(data))]
    except (zlib.error, ValueError) as error:
        log.warning("inventory.memory_unreadable", error=str(error)[:200])
        return None
    return rows if inventory_digest.of(rows) == digest else None
