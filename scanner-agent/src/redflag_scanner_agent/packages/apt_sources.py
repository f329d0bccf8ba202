"""Where packages come from: the site of each index, and whether apt verified its signature.

Rules only: text in, values out.

A source is known by its site (the host it is fetched from, empty for a local directory) and its suite (the
distribution named in the sources list), which the host's administrator configured. What a Release file claims
about itself (`o=`, `l=`) never makes a source a security source by itself: it must also come from a trusted site,
and apt must have verified its signature. A site that the host's administrator named himself in
RedFlag::Security-Sites may also be one that he told apt to trust without (`[trusted=yes]`): both are his word.

apt keeps `InRelease` (or `Release.gpg` beside `Release`) among its lists only when the signature was good; without
one an index is trusted, if at all, by an option of the sources list.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

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

# One line an index: trusted, list file, key of the index in its Release, and the words of `apt-cache policy`.
TARGETS_FORMAT = "$(TRUSTED)\t$(FILENAME)\t$(METAKEY)\t$(DESCRIPTION)"
_TARGET_FIELDS = 4
_GLOBAL_SOURCE_LINE = re.compile(r" *-?\d+ (\S.*)")
_INDEX = re.compile(r"(\S+) (\S+)(?: (\S+))? Packages")  # a flat archive has no architecture
# The signs that apt writes as %xx in the names of its list files.
_QUOTED = frozenset('\\|{}[]<>"^~_=!@#$%&*')


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Why apt would install from an index without a question.

    Attributes:
        accepted: apt takes packages from it.
        verified: because the signature of its Release file was good.
    """

    accepted: bool
    verified: bool


NO_TRUST = Trust(accepted=False, verified=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One index of packages. `site` is empty for a local directory."""

    site: str
    suite: str
    security: bool
    verified: bool = False

    @property
    def text(self) -> str:
        """Site and suite in one word, as plans name it: the same before and after a point release."""
        return f"{self.site or 'localhost'}/{self.suite}"


def parse_targets(text: str, exists: Callable[[Path], bool]) -> dict[str, Trust]:
    """Read `apt-get indextargets` with TARGETS_FORMAT: by the words of `apt-cache policy`, how far to trust it.

    Args:
        text: the output.
        exists: whether a list file is there.
    """
    found: dict[str, Trust] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != _TARGET_FIELDS:
            continue
        trusted, file, key, index = fields
        accepted = trusted == "yes"
        start = file.rpartition(_list_name(key))
        signatures = [Path(start[0] + name) for name in ("InRelease", "Release.gpg")] if start[1] else []
        found[index] = Trust(accepted=accepted, verified=accepted and any(exists(one) for one in signatures))
    return found


def _list_name(key: str) -> str:
    return "".join(f"%{ord(sign):02x}" if sign in _QUOTED else sign for sign in key).replace("/", "_")


def parse_sources(
    text: str, trust: Mapping[str, Trust], extra_sites: frozenset[str] = frozenset()
) -> dict[str, Source]:
    """Read `apt-cache policy` without arguments: each index's line, as it also stands in version tables.

    Args:
        text: the output.
        trust: what `parse_targets` found; an index that is not in it is not trusted.
        extra_sites: the host's own trusted sites for security suites.
    """
    sources: dict[str, Source] = {}
    current = ""
    for line in text.splitlines():
        if match := _GLOBAL_SOURCE_LINE.fullmatch(line):
            current = match.group(1)
            sources.setdefault(
                current, describe_source(current, {}, trust.get(current, NO_TRUST), extra_sites)
            )
        elif current and line.strip().startswith("release "):
            release = _release_fields(line.strip())
            sources[current] = describe_source(current, release, trust.get(current, NO_TRUST), extra_sites)
        elif line and not line.startswith(" "):
            current = ""
    return sources


def describe_source(
    index: str, release: Mapping[str, str], trust: Trust, extra_sites: frozenset[str] = frozenset()
) -> Source:
    """Judge one index by its line, `http://deb.debian.org/debian bookworm/main amd64 Packages`, and its Release."""
    match = _INDEX.fullmatch(index)
    if match is None:
        return Source(site="", suite=release.get("a", "now"), security=False)
    uri, place, _arch = match.groups()
    site = urlsplit(uri).hostname or ""
    suite = place.rpartition("/")[0] or place
    well_known = site in SECURITY_SITES or site.endswith(_SECURITY_SITE_ENDS)
    named = (site or "localhost") in extra_sites
    claimed = any(_SECURITY_SUITE.fullmatch(name) for name in (suite, release.get("a", "")))
    security = (
        claimed
        and release.get("o", "") in _SECURITY_ORIGINS
        and ((well_known and trust.verified) or (named and trust.accepted))
    )
    return Source(site=site, suite=suite, security=security, verified=trust.verified)


def is_index(line: str) -> bool:
    """Whether a line of a version table names an index of an archive, and not dpkg's own status file."""
    return _INDEX.fullmatch(line) is not None


def _release_fields(line: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in line.removeprefix("release ").split(","):
        key, equals, value = part.partition("=")
        if equals:
            fields[key.strip()] = value
    return fields
