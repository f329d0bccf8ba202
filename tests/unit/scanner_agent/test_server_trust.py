"""What is kept of the server's authorities, and the codes of refused certificates."""

import argparse
import base64
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

import redflag_scanner_agent
from redflag_ops.errors import ConfigurationError
from redflag_scanner_agent.contact import Contact, contact_lines, read_contact
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.main import _parser
from redflag_scanner_agent.server_trust import trust_of
from redflag_scanner_agent.tls_faults import certificate_code, handshake_code
from redflag_wire.clock import SystemClock

pytest.importorskip("cryptography", reason="the agent alone has no library that makes certificates")

from tests.support.certificates import Authority


@pytest.fixture
def files(tmp_path: Path) -> Iterator[DurableDirectory]:
    directory = tmp_path / "net"
    directory.mkdir()
    with DurableDirectory(directory) as opened:
        yield opened


@pytest.fixture
def authority() -> Authority:
    return Authority()


def subjects(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


def test_without_a_file_the_systems_authorities_count(files: DurableDirectory) -> None:
    trust = trust_of(files, None)
    assert trust.where == "this system's authorities"
    assert trust.context.verify_mode is ssl.CERT_REQUIRED
    assert trust.context.check_hostname
    assert not trust.refresh()


def test_a_file_alone_counts_and_is_used_again(
    files: DurableDirectory, tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    for trust in (trust_of(files, ca), trust_of(files, None)):
        assert str(ca) in trust.where
        assert subjects(trust.context) == 1
        assert trust.context.verify_mode is ssl.CERT_REQUIRED
        assert trust.context.check_hostname
        assert trust.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_authority_of_the_install_line_is_kept(files: DurableDirectory, authority: Authority) -> None:
    text = base64.b64encode(authority.der).decode()
    for trust in (trust_of(files, None, text), trust_of(files, None)):
        assert "ca.pem" in trust.where
        assert subjects(trust.context) == 1


def test_a_file_given_later_takes_the_place_of_the_kept_one(
    files: DurableDirectory, tmp_path: Path, authority: Authority
) -> None:
    trust_of(files, None, base64.b64encode(authority.der).decode())
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority().pem)
    trust_of(files, ca)
    assert str(ca) in trust_of(files, None).where


@pytest.mark.parametrize("text", ["", "x", "AAAA", "*" * 200_000])
def test_a_damaged_install_line_is_refused_and_nothing_kept(files: DurableDirectory, text: str) -> None:
    with pytest.raises(ConfigurationError, match="copy the install line whole"):
        trust_of(files, None, text)
    assert trust_of(files, None).where == "this system's authorities"


def test_a_missing_or_empty_file_is_refused_and_nothing_kept(files: DurableDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        trust_of(files, tmp_path / "missing")
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match="no certificate"):
        trust_of(files, tmp_path / "empty")
    assert trust_of(files, None).where == "this system's authorities"


def test_a_changed_file_is_taken_over_and_a_damaged_one_is_not(
    files: DurableDirectory, tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    trust = trust_of(files, ca)
    first = trust.context
    assert not trust.refresh()
    ca.write_bytes(b"nothing")
    assert not trust.refresh()
    ca.unlink()
    assert not trust.refresh()
    assert trust.context is first
    ca.write_bytes(Authority("Next CA").pem)
    assert trust.refresh()
    assert trust.context is not first


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (9, "tls_not_yet_valid"),
        (10, "tls_expired"),
        (18, "tls_untrusted"),
        (19, "tls_untrusted"),
        (20, "tls_untrusted"),
        (62, "tls_wrong_name"),
        (64, "tls_wrong_name"),
        (1000, "tls_certificate"),
    ],
)
def test_each_reason_has_its_code(number: int, code: str) -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = number, "words of the library"
    assert certificate_code(error)[0] == code


def test_a_server_that_speaks_no_tls_has_its_own_code() -> None:
    error = ssl.SSLError(1, "x")
    error.reason = "WRONG_VERSION_NUMBER"
    assert handshake_code(error) == "tls_not_spoken"
    error.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert handshake_code(error) == "tls_handshake"


def test_status_tells_the_last_fault_and_the_last_answer(files: DurableDirectory) -> None:
    contact = Contact(files, SystemClock())
    contact.answered()
    contact.failed("tls_untrusted", "the certificate of https://x is refused")
    lines = "\n".join(contact_lines(read_contact(files)))
    assert "server answered" in lines
    assert "is refused (tls_untrusted)" in lines
    Contact(files, SystemClock()).answered()
    lines = "\n".join(contact_lines(read_contact(files)))
    assert "tls_untrusted" not in lines


def test_polls_that_change_nothing_write_nothing(files: DurableDirectory) -> None:
    contact = Contact(files, SystemClock())
    contact.answered()
    before = (files.path / "contact.json").stat().st_ino
    for _ in range(50):
        contact.answered()
    assert (files.path / "contact.json").stat().st_ino == before


def test_nothing_turns_the_verification_off() -> None:
    """No option of the command line and no line of the agent's code."""
    folder = Path(redflag_scanner_agent.__file__).parent
    banned = re.compile(
        r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=|verify_mode|_create_unverified|verify\s*=\s*False|ssl\s*=\s*False"
    )
    for path in folder.rglob("*.py"):
        assert not banned.search(path.read_text()), path
    for option in _options(_parser()):
        assert not re.search(r"insecure|no-verif|skip|unsafe|trust-all|no-tls|no-check", option), option


def _options(parser: argparse.ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                found += _options(one)
    return found
