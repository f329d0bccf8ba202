"""Where RedFlag is reached: what is refused before it starts, and what is kept for the next start."""

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from redflag.up import startup
from redflag.up.data_dir import DataDir
from redflag.up.errors import SettingError
from redflag.up.options import Options, ServingOptions
from redflag.up.reporter import Reporter
from redflag.up.serving import Address, keep, parse_address, serving_of, settle
from redflag.up.state import StateFile
from redflag.up.supervisor import Supervisor
from redflag_wire.clock import SystemClock
from tests.support.certificates import Authority

ANY = "0.0.0.0"  # noqa: S104 - nothing listens in these tests


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def options(tmp_path: Path, authority: Authority) -> ServingOptions:
    cert, key = authority.issue("redflag.example.org", "10.0.0.7").write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return ServingOptions(listen="0.0.0.0:7480", tls_cert=cert, tls_key=key, tls_ca=tmp_path / "ca.pem")


def refusal(options: ServingOptions) -> str:
    with pytest.raises(SettingError) as refused:
        serving_of(options, now)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_without_options_everything_is_on_loopback() -> None:
    serving = serving_of(ServingOptions(), now)
    assert (serving.gateway.host, serving.api.host) == ("127.0.0.1", "127.0.0.1")
    assert serving.gateway_url(7480) == "http://127.0.0.1:7480"
    assert serving.api_url(7481) == "http://127.0.0.1:7481"


def test_the_certificates_name_is_what_hosts_write(options: ServingOptions) -> None:
    serving = serving_of(options, now)
    assert serving.gateway == Address(ANY, 7480)
    assert serving.gateway_url(7480) == "https://redflag.example.org:7480"
    assert serving.gateway_url(443) == "https://redflag.example.org"
    # The API was not asked to leave this machine.
    assert serving.api_url(7481) == "http://127.0.0.1:7481"


def test_the_api_speaks_tls_where_it_leaves_this_machine(options: ServingOptions) -> None:
    serving = serving_of(replace(options, api_listen=ANY), now)
    assert serving.api_has_tls
    assert serving.api_url(7481) == "https://redflag.example.org:7481"


def test_a_public_url_takes_the_place_of_name_and_port(options: ServingOptions) -> None:
    serving = serving_of(replace(options, public_url="https://10.0.0.7:9000/"), now)
    assert serving.gateway_url(7480) == "https://10.0.0.7:9000"


@pytest.mark.parametrize("listen", [ANY, "10.1.2.3:80", "[::]:7480", "::"])
@pytest.mark.parametrize("option", ["listen", "api_listen"])
def test_beyond_this_machine_needs_tls(listen: str, option: str) -> None:
    text = refusal(ServingOptions(listen=listen) if option == "listen" else ServingOptions(api_listen=listen))
    assert "--tls-cert FILE" in text
    assert text.startswith("--api-listen" if option == "api_listen" else "--listen")


def test_what_the_first_host_would_refuse_is_refused_now(
    options: ServingOptions, tmp_path: Path, authority: Authority
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("Other").pem)
    assert "--tls-ca" in refusal(replace(options, tls_ca=None))
    assert "does not vouch for it" in refusal(replace(options, tls_ca=other))
    wrong_name = refusal(replace(options, public_url="https://elsewhere.example.org"))
    assert "redflag.example.org" in wrong_name
    assert "not for elsewhere.example.org" in wrong_name
    cert, key = authority.issue("*.example.org").write(tmp_path, "wild")
    wild = replace(options, tls_cert=cert, tls_key=key)
    assert "is for *.example.org: give the name" in refusal(wild)
    cert, key = authority.issue().write(tmp_path, "nameless")
    assert "subjectAltName" in refusal(replace(options, tls_cert=cert, tls_key=key))
    assert serving_of(replace(wild, public_url="https://a.example.org"), now).public_host


def test_options_that_do_not_fit_together_are_named(options: ServingOptions, tmp_path: Path) -> None:
    cert, key, ca = options.tls_cert, options.tls_key, options.tls_ca
    assert "go together" in refusal(ServingOptions(tls_cert=cert))
    assert "go together" in refusal(ServingOptions(tls_key=key))
    assert "--tls-ca goes with" in refusal(ServingOptions(tls_ca=ca))
    assert "--public-url goes with" in refusal(ServingOptions(public_url="https://a.example.org"))
    assert "needs --public-url" in refusal(ServingOptions(behind_proxy=True, listen=ANY))
    assert "leave --tls-cert" in refusal(
        ServingOptions(behind_proxy=True, tls_cert=cert, tls_key=key, public_url="https://a.example.org")
    )
    for url in ("http://a.example.org", "https://", "https://a/b", "https://u@a", "https://a:x"):
        assert "--public-url" in refusal(replace(options, public_url=url))
    gone = replace(options, tls_cert=tmp_path / "gone")
    assert "--tls-cert: cannot read" in refusal(gone)
    swapped = replace(options, tls_key=cert)
    assert refusal(swapped).startswith("--tls-key")
    (tmp_path / "empty").touch()
    assert "holds no certificate" in refusal(replace(options, tls_ca=tmp_path / "empty"))


def test_an_expired_certificate_is_refused(
    options: ServingOptions, tmp_path: Path, authority: Authority
) -> None:
    authority.issue("redflag.example.org", life=timedelta(minutes=-1)).write(tmp_path)
    assert "expired on" in refusal(options)


def test_behind_a_proxy_plain_http_is_listened_on_and_https_is_said() -> None:
    serving = serving_of(
        ServingOptions(listen=ANY, behind_proxy=True, public_url="https://rf.example.org"), now
    )
    assert serving.gateway_url(7480) == "https://rf.example.org"
    assert not serving.api_has_tls


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (ANY, Address(ANY)),
        ("192.0.2.7:7480", Address("192.0.2.7", 7480)),
        ("[::]:7480", Address("::", 7480)),
        ("[::1]", Address("::1")),
        ("2001:db8::7", Address("2001:db8::7")),
        ("localhost:80", Address("localhost", 80)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text, "--listen") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":80",
        "host:",
        "0.0.0.0:0",
        "0.0.0.0:70000",
        "[::",
        "[::]80",
        "a b",
        "x.example.org:1",
        "1.2.3",
    ],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(SettingError, match="--listen"):
        parse_address(text, "--listen")


def test_options_are_kept_and_any_new_one_replaces_all(options: ServingOptions, tmp_path: Path) -> None:
    file = tmp_path / "serving.json"
    nothing = ServingOptions()
    keep(nothing, file)
    assert not file.exists()
    keep(options, file)
    assert settle(nothing, file) == options
    loopback = ServingOptions(listen="127.0.0.1")
    assert settle(loopback, file) == loopback
    keep(loopback, file)
    assert settle(nothing, file) == loopback


async def test_addresses_that_cannot_be_listened_on_do_not_take_the_place_of_kept_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(_port: int, host: str = "") -> bool:
        raise OSError(errno.EADDRNOTAVAIL, f"no {host}")

    monkeypatch.setattr(startup, "is_free", elsewhere)
    data = DataDir(tmp_path)
    kept, asked = ServingOptions(listen="127.0.0.1"), ServingOptions(listen="127.0.0.9")
    keep(kept, data.serving_file)
    start = startup.Startup(
        options=Options(data=tmp_path, serving=asked), environment={}, data=data, state=StateFile(data.state_file),
        supervisor=cast("Supervisor", None), reporter=cast("Reporter", None), clock=SystemClock(),
    )  # fmt: skip
    with pytest.raises(SettingError, match="--api-listen"):
        await start.run()
    assert settle(ServingOptions(), data.serving_file) == kept


def test_damaged_options_are_an_error_and_not_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "serving.json"
    for text in ("", "[]", "{", '{"listen": 1, "tls_cert": 5}'):
        file.write_text(text)
        with pytest.raises(SettingError, match="cannot be read"):
            settle(ServingOptions(), file)
    assert settle(ServingOptions(listen="127.0.0.1"), file).listen == "127.0.0.1"
