"""Reading `apt-cache policy` and `apt-cache show`: candidates, where they come from, and what they weigh.

Rules only: text in, values out.

A source is known by its site (the host it is fetched from, empty for a local directory) and its suite (the
distribution named in the sources list), which the host's administrator configured. What a Release file claims
about itself (`o=`, `l=`) never makes a source a security source by itself: it must also come from a trusted site.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from redflag_scanner_agent.packages.apt_versions import compare

# Sites that serve the distributions' own security archives. A host with a mirror of its own names it in its apt
# configuration: RedFlag::Security-Sites { "mirror.example.net"; };  ("localhost" stands for local directories).
SECURITY_SITES = frozenset(
    {
        "security.debian.org", "deb.debian.org", "cdn-aws.deb.debian.org",
        "security.ubuntu.com", "archive.ubuntu.com", "ports.ubuntu.com", "esm.ubuntu.com",
    }
)  # fmt: skip
_SECURITY_SITE_ENDS = (".archive.ubuntu.com", ".ec2.archive.ubuntu.com", ".debian.org")
_SECURITY_ORIGINS = frozenset({"Debian", "Ubuntu", "UbuntuESM", "UbuntuESMApps"})
_SECURITY_SUITE = re.compile(r"[a-z0-9.\-]+-security|[a-z]+/updates")

_VERSION_LINE = re.compile(r"(?: \*\*\* | {5})(\S+) (-?\d+)(?: \(phased \d+%\))?\s*")
_SOURCE_LINE = re.compile(r" {6,}-?\d+ (\S.*)")
_GLOBAL_SOURCE_LINE = re.compile(r" *-?\d+ (\S.*)")
_NUMBER_MAX_DIGITS = 15  # stays below 2^53
_INDEX = re.compile(r"(\S+) (\S+) (\S+) Packages")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One index of packages. `site` is empty for a local directory; `local` marks dpkg's own status file."""

    site: str
    suite: str
    security: bool

    @property
    def text(self) -> str:
        """Site and suite in one word, as plans name it: the same before and after a point release."""
        return f"{self.site or 'localhost'}/{self.suite}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What apt would install of a package, and what is installed; `sources` offer exactly the candidate."""

    installed: str | None
    version: str
    sources: tuple[Source, ...]
    security: bool  # the candidate or a version between it and the installed one comes from a security source

    @property
    def source(self) -> Source | None:
        """The source to name: a security one if there is one, otherwise the first."""
        return next((one for one in self.sources if one.security), next(iter(self.sources), None))


def parse_sources(text: str, extra_sites: frozenset[str] = frozenset()) -> dict[str, Source]:
    """Read `apt-cache policy` without arguments: each index's line, as it also stands in version tables.

    `extra_sites` are the host's own trusted sites for security suites.
    """
    sources: dict[str, Source] = {}
    current = ""
    for line in text.splitlines():
        if match := _GLOBAL_SOURCE_LINE.fullmatch(line):
            current = match.group(1)
            sources.setdefault(current, describe_source(current, {}, extra_sites))
        elif current and line.strip().startswith("release "):
            sources[current] = describe_source(current, _release_fields(line.strip()), extra_sites)
        elif line and not line.startswith(" "):
            current = ""
    return sources


def describe_source(index: str, release: Mapping[str, str], extra_sites: frozenset[str]) -> Source:
    """Judge one index by its line, `http://deb.debian.org/debian bookworm/main amd64 Packages`, and its Release."""
    match = _INDEX.fullmatch(index)
    if match is None:
        return Source(site="", suite=release.get("a", "now"), security=False)
    uri, place, _ = match.groups()
    site = urlsplit(uri).hostname or ""
    suite = place.rpartition("/")[0] or place
    trusted = (
        site in SECURITY_SITES or site.endswith(_SECURITY_SITE_ENDS) or (site or "localhost") in extra_sites
    )
    claimed = any(_SECURITY_SUITE.fullmatch(name) for name in (suite, release.get("a", "")))
    security = trusted and claimed and release.get("o", "") in _SECURITY_ORIGINS
    return Source(site=site, suite=suite, security=security)


def _release_fields(line: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in line.removeprefix("release ").split(","):
        key, equals, value = part.partition("=")
        if equals:
            fields[key.strip()] = value
    return fields


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
            sources=tuple(table.get(version, ())),
            security=any(source.security for one in {*between, version} for source in table.get(one, ())),
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


def _version_table(lines: Sequence[str], sources: Mapping[str, Source]) -> dict[str, list[Source]]:
    table: dict[str, list[Source]] = {}
    current: list[Source] | None = None
    for line in lines:
        if match := _VERSION_LINE.fullmatch(line):
            current = table.setdefault(match.group(1), [])
        elif current is not None and (match := _SOURCE_LINE.fullmatch(line)):
            source = sources.get(match.group(1))
            if source is not None and source not in current and _INDEX.fullmatch(match.group(1)):
                current.append(source)
    return table


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
