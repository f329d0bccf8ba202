"""The digest two sides compare to know that they hold the same inventory (docs/protocol.md 6).

It covers what the manager offers, not when the host looked: the same rows give the same digest, in whatever order they
come. Pure; a host makes it over what it sends, the server over what it stored.
"""

import hashlib
from collections.abc import Iterable

from redflag_wire import strict_json
from redflag_wire.report_bodies import UpdateItem


def of(rows: Iterable[UpdateItem]) -> str:
    """Return ``sha256:<hex>`` over the rows in the order of manager, name, architecture and candidate.

    One line of compact JSON per row, its fields in the order of ``UpdateItem``, each ended by a line feed.
    """
    ordered = sorted(rows, key=lambda row: (row.manager, row.name, row.arch, row.candidate))
    hashed = hashlib.sha256()
    for row in ordered:
        hashed.update(strict_json.dumps(row.model_dump(mode="json")))
        hashed.update(b"\n")
    return "sha256:" + hashed.hexdigest()
