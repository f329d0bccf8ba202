"""Certificates as they are read, and TLS that follows its files; handshakes run in memory."""

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from redflag_ops.certificate import CertificateUnreadableError, pem_blocks, read_certificate
from redflag_ops.errors import ConfigurationError
from redflag_ops.tls import LOOK_EVERY_S, ServerTls, check_listener, is_loopback, tls_of

pytest.importorskip("cryptography", reason="the agent alone has no library that makes certificates")

from tests.support.certificates import Authority, Pair

SETTING = "REDFLAG_GATEWAY_TLS"


def now() -> datetime:
    return datetime.now(UTC)


def served(tls: ServerTls, authority: Authority, name: str = "localhost") -> str:
    """Shake hands with what is served, as a client that trusts the authority; return the fingerprint it saw."""
    client = ssl.create_default_context(cadata=authority.der)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = tls.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = ours.getpeercert(binary_form=True)
    assert der is not None
    return read_certificate(der).sha256


def fingerprint(pair: Pair) -> str:
    return read_certificate(pem_blocks(pair.cert.decode())[0]).sha256


@pytest.fixture
def authority() -> Authority:
    return Authority("House CA")


def test_a_certificate_says_whom_it_is_for(authority: Authority) -> None:
    pair = authority.issue("updates.example.org", "10.0.0.7", "::1", subject="updates")
    found = read_certificate(pem_blocks(pair.cert.decode())[0])
    assert (found.subject, found.issuer) == ("CN=updates", "CN=House CA")
    assert found.dns_names == ("updates.example.org",)
    assert found.addresses == ("10.0.0.7", "::1")
    assert timedelta(days=19) < found.not_after - now() < timedelta(days=21)
    assert "10.0.0.7" in found.words()
    assert len(found.sha256) == 64


def test_what_a_certificate_says_cannot_write_on_a_terminal(authority: Authority) -> None:
    pair = authority.issue("x", subject="bad\x1b[2Jname")
    assert "\x1b" not in read_certificate(pem_blocks(pair.cert.decode())[0]).words()


def test_bytes_that_are_no_certificate_are_refused(authority: Authority) -> None:
    der = authority.der
    for broken in (
        b"",
        b"\x30",
        der[:100],
        der[:-1],
        b"\x30\x84" + der,
        b"\x00" * 100,
        b"\x30\x80" * 50,
        b"0" * 70_000,
    ):
        with pytest.raises(CertificateUnreadableError):
            read_certificate(broken)


def test_a_changed_byte_never_raises_anything_else(authority: Authority) -> None:
    der = authority.der
    for at in range(len(der)):
        bent = der[:at] + bytes([der[at] ^ 0xFF]) + der[at + 1 :]
        try:
            read_certificate(bent)
        except CertificateUnreadableError:
            continue


def test_a_pair_is_served_and_a_new_one_takes_its_place(tmp_path: Path, authority: Authority) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost")
    tls = ServerTls(*first.write(tmp_path), setting=SETTING, now=now)
    front = tls.context
    assert served(tls, authority) == fingerprint(first)
    assert not tls.refresh()
    second.write(tmp_path)
    assert tls.refresh()
    assert tls.context is front
    assert served(tls, authority) == fingerprint(second)


def test_a_bad_new_pair_leaves_the_old_one_and_is_shown_until_it_is_gone(
    tmp_path: Path, authority: Authority
) -> None:
    good, other = authority.issue("localhost"), authority.issue("localhost")
    cert, key = good.write(tmp_path)
    tls = ServerTls(cert, key, setting=SETTING, now=now)
    registry = CollectorRegistry()
    tls.watch_metrics(registry, "gateway")
    cert.write_bytes(other.cert)  # its key has not come yet
    assert not tls.refresh()
    assert "is not that of the certificate" in str(tls.fault)
    assert registry.get_sample_value("redflag_gateway_tls_reload_refused") == 1
    assert served(tls, authority) == fingerprint(good)
    cert.unlink()
    assert not tls.refresh()
    assert "cannot read" in str(tls.fault)
    other.write(tmp_path)
    assert tls.refresh()
    assert registry.get_sample_value("redflag_gateway_tls_reload_refused") == 0
    assert served(tls, authority) == fingerprint(other)


def test_an_expired_new_pair_is_not_taken(tmp_path: Path, authority: Authority) -> None:
    good = authority.issue("localhost")
    tls = ServerTls(*good.write(tmp_path), setting=SETTING, now=now)
    authority.issue("localhost", life=timedelta(minutes=-1)).write(tmp_path)
    assert not tls.refresh()
    assert "expired on" in str(tls.fault)
    assert served(tls, authority) == fingerprint(good)


def test_old_protocols_are_not_spoken(tmp_path: Path, authority: Authority) -> None:
    tls = ServerTls(*authority.issue("localhost").write(tmp_path), setting=SETTING, now=now)
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


def refusal(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        ServerTls(cert, key, setting=SETTING, now=now)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_files_that_cannot_be_served_are_named(tmp_path: Path, authority: Authority) -> None:
    good, other = authority.issue("localhost"), authority.issue("localhost")
    cert, key = good.write(tmp_path)
    _, other_key = other.write(tmp_path, "other")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(os.urandom(500))
    protected = authority.issue("localhost", password=b"secret").write(tmp_path, "protected")
    expired = authority.issue("localhost", life=timedelta(minutes=-1)).write(tmp_path, "expired")
    early = authority.issue("localhost", begins=timedelta(hours=1)).write(tmp_path, "early")

    assert "_TLS_CERT: cannot read" in refusal(tmp_path / "missing", key)
    assert "_TLS_KEY: cannot read" in refusal(cert, tmp_path / "missing")
    assert "no certificate in PEM form" in refusal(garbage, key)
    assert "no usable key" in refusal(cert, garbage)
    assert "is not that of the certificate" in refusal(cert, other_key)
    assert "has a password" in refusal(*protected)
    assert "expired on" in refusal(*expired)
    assert "is not valid before" in refusal(*early)


def test_certificate_and_key_go_together(tmp_path: Path) -> None:
    assert tls_of(None, None, setting=SETTING, now=now) is None
    with pytest.raises(ConfigurationError, match="REDFLAG_GATEWAY_TLS_KEY is missing"):
        tls_of(tmp_path, None, setting=SETTING, now=now)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_plain_http_is_served_to_this_machine(host: str) -> None:
    check_listener(host, None, behind_proxy=False, setting="REDFLAG_GATEWAY")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example.org"])  # noqa: S104
def test_plain_http_beyond_this_machine_needs_a_proxy(host: str) -> None:
    with pytest.raises(ConfigurationError, match="REDFLAG_GATEWAY_BEHIND_PROXY=1"):
        check_listener(host, None, behind_proxy=False, setting="REDFLAG_GATEWAY")
    check_listener(host, None, behind_proxy=True, setting="REDFLAG_GATEWAY")
    assert not is_loopback(host)


async def test_the_watch_ends_when_told_to(tmp_path: Path, authority: Authority) -> None:
    tls = ServerTls(*authority.issue("localhost").write(tmp_path), setting=SETTING, now=now)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(LOOK_EVERY_S):
        await tls.watch(stop)
