"""How a definition is compared with what a server reports.

It guarantees that every field the definition names is compared, and that fields only the server fills in (its own
metadata, defaults this package does not set) are not: a server may know more than the definition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The server leaves these out of its answers where they have their zero value.
_ABSENT_MEANS: dict[str, object] = {
    "max_age": 0,
    "discard_new_per_subject": False,
    "allow_msg_ttl": False,
    "allow_rollup_hdrs": False,
    "deny_delete": False,
    "persist_mode": "default",
    "max_msgs_per_subject": -1,
    "mem_storage": False,
    "inactive_threshold": 0,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a running server is not as defined.

    Attributes:
        where: what differs, for example ``stream UP`` or ``server``.
        field: the field, or empty where the whole thing is missing or should not be there.
        expected: what the definition says.
        found: what the server has.
    """

    where: str
    field: str
    expected: object
    found: object

    def __str__(self) -> str:
        """Return one line for a person."""
        name = f"{self.where}, {self.field}" if self.field else self.where
        return f"{name}: expected {self.expected}, found {self.found}"


def compare(where: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[Difference]:
    """Return the fields of ``expected`` that ``found`` has otherwise."""
    differences = []
    for field, value in expected.items():
        actual = found.get(field, _ABSENT_MEANS.get(field))
        if actual != value:
            differences.append(Difference(where, field, value, actual))
    return differences
