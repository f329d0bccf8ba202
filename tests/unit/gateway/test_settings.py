from pathlib import Path
from typing import Any

import pytest

from redflag_gateway.settings import Settings
from redflag_ops.errors import ConfigurationError
from redflag_ops.settings import load_settings

GOOD: dict[str, str] = {
    "REDFLAG_GATEWAY_LISTEN": "127.0.0.1:7480",
    "REDFLAG_GATEWAY_ORIGIN": "https://updates.example.org",
    "REDFLAG_NATS_URL": "nats://127.0.0.1:4222",
    "REDFLAG_GATEWAY_NATS_SEED_FILE": "/x",
    "REDFLAG_GATEWAY_HMAC_FILE": "/x",
    "REDFLAG_ROOT_FINGERPRINT": "00" * 32,
    "REDFLAG_FLEET": "0199c0de-0000-7000-8000-000000000001",
}


def _load(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in {**GOOD, **changes}.items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, REDFLAG_GATEWAY_ORIGIN="https://updates.example.org/")
    assert settings.gateway_origin == "https://updates.example.org"
    assert settings.gateway_nats_seed_file == Path("/x")
    assert settings.gateway_next_poll_s == 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDFLAG_GATEWAY_LISTEN", "7480"),
        ("REDFLAG_GATEWAY_LISTEN", "127.0.0.1:99999"),
        ("REDFLAG_GATEWAY_ORIGIN", "updates.example.org"),
        ("REDFLAG_GATEWAY_ORIGIN", "https://user@updates.example.org"),
        ("REDFLAG_GATEWAY_ORIGIN", "https://updates.example.org/path"),
        ("REDFLAG_GATEWAY_ORIGIN", "ftp://updates.example.org"),
        ("REDFLAG_ROOT_FINGERPRINT", "00" * 31),
        ("REDFLAG_ROOT_FINGERPRINT", "zz" * 32),
        ("REDFLAG_GATEWAY_NEXT_POLL_S", "0"),
        ("REDFLAG_NATS_URL", ""),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=name):
        _load(monkeypatch, **changes)
