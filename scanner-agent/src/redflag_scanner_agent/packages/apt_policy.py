"""Reading `apt-cache policy` and `apt-cache show`: candidates, where they come from, and what they weigh.

Rules only: text in, values out. What the sources are is judged in `apt_sources`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redflag_scanner_agent.packages.apt_sources import Source, is_index
from redflag_scanner_agent.packages.apt_versions import compare

_VERSION_LINE = re.compile(r"(?: \*\*\* | {5})(\S+) (-?[0-9]{1,9})(?: \(phased \d+%\))?\s*")
_SOURCE_LINE = re.compile(r" {6,}-?\d+ (\S.*)")
_NUMBER_MAX_DIGITS = 15  # stays below 2^53


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One version in apt's table: the priority it has after all pins, and the archives that have it."""

    priority: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What apt would install of a package, what is installed, and all versions it knows (`offers`)."""

    installed: str | None
    version: str
    security: bool  # the candidate or a version between it and the installed one comes from a security source
    offers: Mapping[str, Offer]

    @property
    def sources(self) -> tuple[Source, ...]:
        """The archives that offer exactly the candidate."""
        return self.sources_of(self.version)

    def sources_of(self, version: str) -> tuple[Source, ...]:
        """The archives that offer a version; none for one that is only installed."""
        offer = self.offers.get(version)
        return offer.sources if offer is not None else ()

    @property
    def source(self) -> Source | None:
        """The source to name for the candidate."""
        return best(self.sources)


def best(sources: Sequence[Source]) -> Source | None:
    """The source to name: a security one if there is one, else a verified one, otherwise the first."""
    return min(sources, key=lambda one: (not one.security, not one.verified), default=None)


def parse_candidates(text: str, sources: Mapping[str, Source]) -> dict[str, Candidate]:
    """Read `apt-cache policy <names>`: per name as apt prints it (with `:arch` when foreign) its candidate."""
    found: dict[str, Candidate] = {}
    for name, lines in _stanzas(text):
        installed = _field(lines, "Installed")
        version = _field(lines, "Candidate")
        if version is None:
            continue
        table = _version_table(lines, sources)
        newer = [one for one in table if installed is None or compare(one, installed) > 0]
        between = [one for one in newer if compare(one, version) <= 0]
        found[name] = Candidate(
            installed=installed,
            version=version,
            security=any(
                source.security
                for one in {*between, version}
                if one in table
                for source in table[one].sources
            ),
            offers=table,
        )
    return found


def _stanzas(text: str) -> list[tuple[str, list[str]]]:
    stanzas: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            stanzas.append((line[:-1], []))
        elif stanzas:
            stanzas[-1][1].append(line)
    return stanzas


def _field(lines: Sequence[str], name: str) -> str | None:
    prefix = f"  {name}: "
    value = next((line[len(prefix) :].strip() for line in lines if line.startswith(prefix)), "")
    return None if value in {"", "(none)"} else value


def _version_table(lines: Sequence[str], sources: Mapping[str, Source]) -> dict[str, Offer]:
    table: dict[str, tuple[int, list[Source]]] = {}
    current: list[Source] | None = None
    for line in lines:
        if match := _VERSION_LINE.fullmatch(line):
            _, current = table.setdefault(match.group(1), (int(match.group(2)), []))
        elif current is not None and (match := _SOURCE_LINE.fullmatch(line)):
            source = sources.get(match.group(1))
            if source is not None and source not in current and is_index(match.group(1)):
                current.append(source)
    return {
        version: Offer(priority=priority, sources=tuple(found))
        for version, (priority, found) in table.items()
    }


@dataclass(frozen=True, kw_only=True)
class Details:
    """What `apt-cache show` says of one version. `size` in bytes to download."""

    size: int | None
    phased_percentage: int | None


def parse_show(text: str) -> dict[tuple[str, str, str], Details]:
    """Read `apt-cache show name=version ...`: details by (name, arch, version)."""
    found: dict[tuple[str, str, str], Details] = {}
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(": ")
            if colon and not line.startswith(" "):
                fields.setdefault(key, value.strip())
        if "Package" in fields and "Version" in fields:
            key3 = fields["Package"], fields.get("Architecture", ""), fields["Version"]
            found.setdefault(
                key3,
                Details(
                    size=_number(fields.get("Size")),
                    phased_percentage=_number(fields.get("Phased-Update-Percentage")),
                ),
            )
    return found


def _number(text: str | None) -> int | None:
    return (
        int(text)
        if text is not None and text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS
        else None
    )
