"""Versions that a preferences file keeps away (apt_preferences(5)): which, by what priority, and which file says so.

Rules only, but for reading the files, which is bounded.

Whether a version is kept away is not worked out here: apt is asked twice, with and without the preferences, and the
difference is what the preferences do (`apt_survey`). Only the file to name is found by reading: a record counts
when its `Package` matches, and its `Pin` too as far as that can be told from here. When records in several files
match, none is named rather than a wrong one.
"""

import contextlib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redflag_scanner_agent.packages.apt_policy import Candidate

FILES_MAX = 200  # preferences files read
FILE_MAX_BYTES = 256 * 1024  # bytes read of each
_PRIORITY = re.compile(r"-?[0-9]{1,9}", re.ASCII)
# Which names in preferences.d apt reads: apt_preferences(5), "no or pref as filename extension".
_FILE_NAME = re.compile(r"[A-Za-z0-9_\-]+(?:\.pref)?|[A-Za-z0-9_\-.]+\.pref", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PinRecord:
    """One record of a preferences file: the name patterns, the pin expression and its priority."""

    file: Path
    packages: tuple[str, ...]
    pin: str
    priority: int

    @property
    def general(self) -> bool:
        """Whether it is about whole archives and not about packages by name."""
        return self.packages == ("*",)

    def names(self, package: str) -> bool:
        """Whether the record is about this package."""
        plain = (one if one.startswith("/") else one.partition(":")[0] for one in self.packages)
        return any(_matches(pattern, package) for pattern in plain)


def read_records(main: Path, parts: Path) -> list[PinRecord]:
    """All records of a host's preferences; a file that cannot be read counts as empty, as nobody can name it."""
    files = [main]
    with contextlib.suppress(OSError):
        files += sorted(one for one in parts.iterdir() if _FILE_NAME.fullmatch(one.name))
    records: list[PinRecord] = []
    for file in files[:FILES_MAX]:
        with contextlib.suppress(OSError), file.open("rb") as stream:
            records += parse_records(stream.read(FILE_MAX_BYTES).decode("utf-8", "replace"), file)
    return records


def parse_records(text: str, file: Path) -> list[PinRecord]:
    """Read one preferences file; what is not a whole record is left out, as apt refuses such a file anyway."""
    records = []
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in {" ", "\t"} and last:
                fields[last] += f" {line.strip()}"
                continue
            key, colon, value = line.partition(":")
            if colon:
                last = key.strip().lower()
                fields.setdefault(last, value.strip())
        priority = fields.get("pin-priority", "")
        if fields.get("package") and fields.get("pin") and _PRIORITY.fullmatch(priority):
            records.append(
                PinRecord(
                    file=file,
                    packages=tuple(fields["package"].split()),
                    pin=fields["pin"],
                    priority=int(priority),
                )
            )
    return records


def reason(package: str, kept: str, candidate: Candidate | None, records: Sequence[PinRecord]) -> str:
    """Why apt does not take version `kept`, for people: the priority, and the file where it can be told.

    Args:
        package: the package.
        kept: the newer version that is kept away.
        candidate: what apt says with the preferences in force; None when they leave it nothing to install.
        records: the host's preferences.
    """
    own = [one for one in records if one.names(package) and not one.general]
    if candidate is None:
        return f"a pin keeps every version of {package} away" + _in_file(own)
    away = candidate.offers.get(kept)
    wanted = candidate.offers.get(candidate.version)
    low = away.priority if away is not None else None
    high = wanted.priority if wanted is not None else None
    by_kept = [one for one in own if one.priority == low and _version_fits(one.pin, kept)]
    by_wanted = [one for one in own if one.priority == high and _version_fits(one.pin, candidate.version)]
    whole = [one for one in records if one.general and one.priority in {low, high}]
    if by_kept or (not by_wanted and low is not None and any(one.priority == low for one in whole)):
        text = f"a pin gives {kept} the priority {low}"
        return text + _in_file(by_kept or [one for one in whole if one.priority == low])
    text = f"a pin prefers {candidate.version}, with the priority {high}, to {kept}"
    return text + _in_file(by_wanted or whole or own)


def _in_file(records: Iterable[PinRecord]) -> str:
    files = {one.file for one in records}
    return f" ({next(iter(files))})" if len(files) == 1 else ""


def _version_fits(pin: str, version: str) -> bool:
    kind, _, rest = pin.partition(" ")
    return kind.lower() != "version" or _matches(rest.strip(), version)


def _matches(pattern: str, text: str) -> bool:
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        with contextlib.suppress(re.error):
            return re.search(pattern[1:-1], text) is not None
        return False
    return fnmatch.fnmatchcase(text, pattern)
