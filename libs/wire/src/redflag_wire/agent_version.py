"""Versions of the agent compared as numbers, never as text.

``X.Y.Z`` and ``X.Y.Z.W``, a leading ``v`` allowed, shorter ones filled with zeros: ``1.2`` is ``v1.2.0.0``. A
pre-release (``1.3.0-rc1``, ``1.3.0rc1``, ``1.3.0.dev4``) comes before its release. ``dev``, and everything else that
is no version, is older than all: a host that cannot say what it runs is never taken for a new one.
"""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

_FORM: Final = re.compile(
    r"[vV]?(\d{1,9}(?:\.\d{1,9}){0,3})(?:[-.]?([a-zA-Z][0-9a-zA-Z.-]{0,63}))?(?:\+[0-9a-zA-Z.-]{1,64})?",
    re.ASCII,
)
_PARTS: Final = 4


@total_ordering
@dataclass(frozen=True, slots=True)
class AgentVersion:
    """A version that can be compared; the text it came from is not part of it.

    Attributes:
        numbers: four numbers; empty for what is no version.
        pre: the pre-release's words and numbers, empty for a release.
    """

    numbers: tuple[int, ...]
    pre: tuple[tuple[int, int | str], ...] = ()

    def __lt__(self, other: object) -> bool:
        """Whether this one is older."""
        if not isinstance(other, AgentVersion):
            return NotImplemented
        return self._key() < other._key()

    def _key(self) -> tuple[tuple[int, ...], int, tuple[tuple[int, int | str], ...]]:
        return (self.numbers, 0 if self.pre else 1, self.pre)

    @property
    def is_known(self) -> bool:
        """Whether this is a version at all."""
        return bool(self.numbers)


def parse(text: str | None) -> AgentVersion:
    """Return the version of a text; never raises, see the module."""
    found = None if text is None else _FORM.fullmatch(text)
    if found is None:
        return AgentVersion(())
    numbers = tuple(int(part) for part in found[1].split("."))
    pre = tuple(
        (0, int(part)) if part.isdigit() else (1, part.lower())
        for part in re.findall(r"[0-9]+|[a-zA-Z]+", found[2] or "")
    )
    return AgentVersion(numbers + (0,) * (_PARTS - len(numbers)), pre)


def is_below(version: str | None, minimum: str | None) -> bool:
    """Whether an agent's version is older than a minimum; never when there is no minimum."""
    return minimum is not None and parse(version) < parse(minimum)


def update_available(version: str | None, newest: str | None) -> bool:
    """Whether a newer agent than this one is to be had."""
    return newest is not None and parse(version) < parse(newest)
