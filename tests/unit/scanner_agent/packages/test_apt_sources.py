from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_scanner_agent.packages.apt_sources import NO_TRUST, Trust, describe_source, parse_targets

LISTS = "/var/lib/apt/lists/"
DEBIAN = "http://deb.debian.org/debian bookworm/main amd64 Packages"
LOCAL = "file:/srv/my_repo bed/main amd64 Packages"
FLAT = "file:/srv/flat ./ Packages"
TARGETS = (
    f"yes\t{LISTS}deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages.lz4\tmain/binary-amd64/Packages\t"
    f"{DEBIAN}\n"
    f"yes\t{LISTS}_srv_my%5frepo_dists_bed_main_binary-amd64_Packages\tmain/binary-amd64/Packages\t{LOCAL}\n"
    f"no\t{LISTS}_srv_flat_._Packages\tPackages\t{FLAT}\n"
    "odd line\n"
)
SECURITY = "http://security.debian.org/debian-security bookworm-security/main amd64 Packages"
SIGNED, ACCEPTED = Trust(accepted=True, verified=True), Trust(accepted=True, verified=False)


def test_targets_are_verified_by_the_signed_file_beside_them() -> None:
    there = {Path(f"{LISTS}deb.debian.org_debian_dists_bookworm_InRelease")}
    found = parse_targets(TARGETS, there.__contains__)
    assert found == {DEBIAN: SIGNED, LOCAL: ACCEPTED, FLAT: NO_TRUST}


def test_detached_signature_counts_and_an_index_that_apt_does_not_accept_never_does() -> None:
    there = {
        Path(f"{LISTS}_srv_my%5frepo_dists_bed_Release.gpg"),
        Path(f"{LISTS}_srv_flat_._InRelease"),
    }
    found = parse_targets(TARGETS, there.__contains__)
    assert found == {DEBIAN: ACCEPTED, LOCAL: SIGNED, FLAT: NO_TRUST}


def test_component_with_signs_that_apt_quotes_is_found() -> None:
    line = f"yes\t{LISTS}x_dists_s_my%5fpart_binary-all_Packages\tmy_part/binary-all/Packages\tindex\n"
    assert parse_targets(line, lambda path: path.name == "x_dists_s_InRelease")["index"].verified


@pytest.mark.parametrize(
    ("trust", "named", "security"),
    [
        (SIGNED, False, True),
        (ACCEPTED, False, False),  # anybody on the way could say that it is the security archive
        (NO_TRUST, False, False),
        (
            ACCEPTED,
            True,
            True,
        ),  # the host's administrator vouches for both, the site and the missing signature
        (NO_TRUST, True, False),
    ],
)
def test_security_takes_a_signature_or_the_administrators_word(
    trust: Trust, named: bool, security: bool
) -> None:
    sites = frozenset({"security.debian.org"}) if named else frozenset()
    source = describe_source(SECURITY, {"o": "Debian"}, trust, sites)
    assert source.security is security
    assert source.verified is trust.verified


def test_flat_archive_is_an_index_without_architecture() -> None:
    source = describe_source(FLAT, {"a": "x"}, SIGNED)
    assert (source.site, source.verified, source.security) == ("", True, False)


@given(st.text(max_size=300))
def test_targets_never_raise_on_any_text(text: str) -> None:
    parse_targets(text, lambda _: True)
    parse_targets(f"yes\t{text}\tmain/x\t{text}", lambda _: True)
    describe_source(text, {}, SIGNED)
