from hypothesis import given
from hypothesis import strategies as st

from redflag_scanner_agent.packages.apt_policy import Details, parse_candidates, parse_show
from redflag_scanner_agent.packages.apt_sources import Trust, describe_source, parse_sources

SOURCES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin deb.debian.org
 500 http://deb.debian.org/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin deb.debian.org
 500 http://evil.example/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin evil.example
Pinned packages:
     held-by-pin -> 1.0 with priority 1001
"""
SIGNED = Trust(accepted=True, verified=True)
TRUST = {
    f"http://{place} amd64 Packages": SIGNED
    for place in (
        "deb.debian.org/debian-security bookworm-security/main",
        "deb.debian.org/debian bookworm/main",
        "evil.example/debian-security bookworm-security/main",
    )
}
TABLE = """\
tzdata:
  Installed: 2025b-0+deb12u2
  Candidate: 2026f-0+deb12u1
  Version table:
     2026f-0+deb12u1 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     2026b-0+deb12u1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
 *** 2025b-0+deb12u2 100
        100 /var/lib/dpkg/status
openssh-client:
  Installed: 1:9.2p1-2+deb12u5
  Candidate: 1:9.2p1-2+deb12u9
  Version table:
     1:9.2p1-2+deb12u9 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
     1:9.2p1-2+deb12u7 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 1:9.2p1-2+deb12u5 100
        100 /var/lib/dpkg/status
old-security:
  Installed: 2.0
  Candidate: 3.0
  Version table:
     3.0 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
 *** 2.0 100
        100 /var/lib/dpkg/status
     1.0 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
libc6:i386:
  Installed: (none)
  Candidate: 2.36-9
  Package pin: 2.36-9
  Version table:
     2.36-9 1001 (phased 10%)
       1001 http://evil.example/debian-security bookworm-security/main amd64 Packages
gone:
  Installed: 1.0
  Candidate: (none)
  Version table:
     1.0 -1
        100 /var/lib/dpkg/status
"""


def test_candidates_of_real_tables_are_read() -> None:
    found = parse_candidates(TABLE, parse_sources(SOURCES, TRUST))
    assert set(found) == {"tzdata", "openssh-client", "old-security", "libc6:i386"}
    tzdata = found["tzdata"]
    assert (tzdata.installed, tzdata.version, tzdata.security) == ("2025b-0+deb12u2", "2026f-0+deb12u1", True)
    assert tzdata.source is not None
    assert tzdata.source.text == "deb.debian.org/bookworm-security"


def test_security_counts_versions_between_installed_and_candidate() -> None:
    found = parse_candidates(TABLE, parse_sources(SOURCES, TRUST))
    assert found["openssh-client"].security
    assert not found["old-security"].security


def test_security_is_not_believed_from_a_foreign_site() -> None:
    foreign = parse_candidates(TABLE, parse_sources(SOURCES, TRUST))["libc6:i386"]
    assert foreign.installed is None
    assert foreign.source is not None
    assert foreign.source.site == "evil.example"
    assert not foreign.security
    trusted = parse_candidates(TABLE, parse_sources(SOURCES, TRUST, frozenset({"evil.example"})))[
        "libc6:i386"
    ]
    assert trusted.security


def test_security_needs_origin_suite_and_site_together() -> None:
    index = "http://security.debian.org/debian-security {}/main amd64 Packages"
    ubuntu = "http://de.archive.ubuntu.com/ubuntu jammy-security/main amd64 Packages"
    assert describe_source(index.format("bookworm-security"), {"o": "Debian"}, SIGNED).security
    assert describe_source(index.format("buster/updates"), {"o": "Debian"}, SIGNED).security
    assert describe_source(ubuntu, {"o": "Ubuntu", "a": "jammy-security"}, SIGNED).security
    assert not describe_source(index.format("bookworm-security"), {"o": "Other"}, SIGNED).security
    assert not describe_source(
        index.format("bookworm"), {"o": "Debian", "l": "Debian-Security"}, SIGNED
    ).security
    near_miss = "http://security.debian.org.evil.example/x bookworm-security/main amd64 Packages"
    assert not describe_source(near_miss, {"o": "Debian"}, SIGNED).security


def test_local_directory_has_no_site() -> None:
    source = describe_source("file:/srv/repo bed/main amd64 Packages", {"o": "Debian"}, SIGNED)
    assert (source.site, source.text, source.security) == ("", "localhost/bed", False)


def test_show_gives_details_of_exact_versions() -> None:
    text = (
        "Package: sed\nArchitecture: amd64\nVersion: 4.9-2\nSize: 329000\nDescription: x\n Size: 5\n\n"
        "Package: sed\nArchitecture: amd64\nVersion: 4.9-3\nPhased-Update-Percentage: 10\n\nnonsense\n"
    )
    assert parse_show(text) == {
        ("sed", "amd64", "4.9-2"): Details(size=329000, phased_percentage=None),
        ("sed", "amd64", "4.9-3"): Details(size=None, phased_percentage=10),
    }


def test_show_refuses_numbers_that_are_none() -> None:
    text = "Package: x\nArchitecture: all\nVersion: 1\nSize: \u0663\nPhased-Update-Percentage: 99999999999999999999\n"
    assert parse_show(text) == {("x", "all", "1"): Details(size=None, phased_percentage=None)}


@given(st.text(max_size=300))
def test_policy_and_show_never_raise_on_any_text(text: str) -> None:
    sources = parse_sources("Package files:\n 500 " + text, {})
    parse_sources(text, {})
    parse_candidates("x:\n  Installed: 1\n  Candidate: 2\n  Version table:\n     2 500\n" + text, sources)
    parse_candidates(text, sources)
    parse_show(text)
