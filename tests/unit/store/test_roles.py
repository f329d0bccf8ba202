import base64
import hashlib
import hmac

import pytest

from redflag_store.roles import PasswordRefusedError, Role, role_url, scram_verifier

# The exchange of RFC 7677 section 3: user "user", password "pencil".
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCES = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
AUTH_MESSAGE = (
    f"n=user,r=rOprNGfwEbeRWgbNEkqO,{NONCES},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,{NONCES}".encode()
)
PROOF = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SERVER_SIGNATURE = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_scram_verifier_fits_the_exchange_of_rfc_7677() -> None:
    head, keys = scram_verifier("pencil", lambda _: SALT).rsplit("$", 1)
    assert head == "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    stored_key, server_key = (base64.b64decode(key) for key in keys.split(":"))
    mask = hmac.digest(stored_key, AUTH_MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(PROOF, mask, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key
    assert hmac.digest(server_key, AUTH_MESSAGE, "sha256") == SERVER_SIGNATURE


@pytest.mark.parametrize("password", ["", "grün", "a\nb", "x" * 257])
def test_scram_verifier_refuses_what_is_not_plain(password: str) -> None:
    with pytest.raises(PasswordRefusedError):
        scram_verifier(password)


def test_role_url_keeps_server_database_and_options() -> None:
    url = role_url("postgresql://owner:secret@db:5433/name?sslmode=require", Role.DASHBOARD, "p@ss")
    assert url == "postgresql://redflag_dashboard:p%40ss@db:5433/name?sslmode=require"


def test_role_url_refuses_another_role() -> None:
    with pytest.raises(ValueError, match="postgres"):
        role_url("postgresql://owner:secret@db/name", "postgres", "x")
