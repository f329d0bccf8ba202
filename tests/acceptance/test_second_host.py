"""A host elsewhere joins over TLS with a copied line, and meets new, foreign and again right certificates."""

import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from redflag_ops.certificate import pem_blocks, read_certificate
from tests.support.certificates import Authority
from tests.support.directories import open_directory
from tests.support.installation import Installation

AGENT = Path(__file__).resolve().parents[1] / "support" / "agent_with_fake_manager.py"
DEADLINE_S = 60.0
NOBODY = 65534


def eventually(look: Callable[[], Any], what: str, tail: Callable[[], str]) -> Any:
    """Wait for something another process does."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"never came: {what}\n{tail()}"
        time.sleep(0.05)


@dataclass
class SecondHost:
    """An agent under another account, with a state directory of its own."""

    directory: Path
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        if os.geteuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "REDFLAG_AGENT_STATE_DIR": str(self.directory / "state"),
            "REDFLAG_AGENT_FAST": "1",
        }

    @property
    def log(self) -> Path:
        return self.directory.parent / "second.log"

    def command(self, *arguments: str) -> list[str]:
        """Return the agent's command line under the other account, which may read this machine's Python."""
        agent = [sys.executable, str(AGENT), "agent", *arguments]
        if os.geteuid() != 0:
            return agent
        setpriv = shutil.which("setpriv")
        assert setpriv is not None
        ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [setpriv, *ids, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *agent]

    def once(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run"), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_S)
            self.process = None

    def records(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_directory("second-host") as directory:
        yield directory


@pytest.mark.timeout(300)
def test_a_second_host_joins_over_tls_and_meets_new_and_foreign_certificates(place: Path) -> None:
    ours, theirs = Authority("House CA"), Authority("Foreign CA")
    first = ours.issue("localhost", "127.0.0.1")
    cert, key = first.write(place / "tls")
    ca = place / "tls" / "ca.pem"
    ca.write_bytes(ours.pem)
    installation = Installation(
        place,
        options=(
            "--no-agent", "--listen", "0.0.0.0", "--api-listen", "0.0.0.0",  # noqa: S104 - what is tested
            "--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(ca),
        ),
    )  # fmt: skip
    host = SecondHost(place / "second")
    try:
        installation.start()
        installation.scan_only_when_asked()
        joins(installation, host, ours)

        # A new certificate of the same authority: no restart of RedFlag, nothing to do on the host.
        second = ours.issue("localhost", "127.0.0.1")
        host.stop()
        second.write(place / "tls")
        await_served(installation, second.cert)
        host.start()
        scans(installation)

        # Another authority's: refused by host and command line, each says why.
        host.stop()
        foreign = theirs.issue("localhost", "127.0.0.1", subject="somebody else")
        foreign.write(place / "tls")
        await_served(installation, foreign.cert)
        host.start()
        refuses(host)
        assert "certificate" in cli_refusal(installation)

        # The right one is back: the agent that kept trying comes through by itself.
        second.write(place / "tls")
        await_served(installation, second.cert)
        scans(installation)

        # A later start needs none of the options.
        host.stop()
        before = installation.ready["gateway_url"]
        installation.stop()
        installation.options = ("--no-agent",)
        installation.start()
        assert installation.ready["gateway_url"] == before
    finally:
        host.stop()
        installation.kill_all()


def joins(installation: Installation, host: SecondHost, authority: Authority) -> None:
    made = installation.json("tokens", "create")
    line = shlex.split(made["install"])
    assert line[:2] == ["redflag-agent", "enroll"]
    assert installation.ready["gateway_url"] in line
    assert "--ca-text" in line

    # The same line with another authority does not get in, and leaves nothing behind that would.
    bent = [Authority("Other").text if word == authority.text else word for word in line[1:]]
    refused = host.once(*bent)
    assert refused.returncode == 4
    assert "(tls_untrusted)" in refused.stderr
    assert "issuer CN=House CA" in refused.stderr

    joined = host.once(*line[1:])
    assert joined.returncode == 0, joined.stderr
    assert "enrolled as" in joined.stdout
    assert authority.text in line
    host.start()
    scans(installation)


def scans(installation: Installation) -> None:
    (host,) = installation.json("hosts", "list")["items"]
    installation.cli("scan", host["id"], "fake", "--wait", "--timeout", "60s")
    (command, *_rest) = installation.json("commands", "list", "--kind", "scan")["items"]
    assert command["state"] == "succeeded"


def refuses(host: SecondHost) -> None:
    record = eventually(
        lambda: next((one for one in host.records() if one.get("code") == "tls_untrusted"), None),
        "the refusal",
        host.tail,
    )
    for words in ("subject CN=somebody else", "issuer CN=Foreign CA", "SHA-256", "expected", "ca.pem"):
        assert words in record["detail"]
    shown = host.once("status")
    assert "(tls_untrusted)" in shown.stdout, shown
    assert host.process is not None
    assert host.process.poll() is None


def cli_refusal(installation: Installation) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("redflag"), "hosts", "list", "--data", str(installation.data_dir)],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    return done.stderr


def await_served(installation: Installation, cert: bytes) -> None:
    """Wait until gateway and API show a certificate."""
    wanted = read_certificate(pem_blocks(cert.decode())[0]).sha256
    for url in (installation.ready["gateway_url"], installation.ready["api_url"]):
        port = int(url.rpartition(":")[2])

        def shown(port: int = port) -> bool:
            pem = ssl.get_server_certificate(("localhost", port), timeout=DEADLINE_S)
            return read_certificate(pem_blocks(pem)[0]).sha256 == wanted

        eventually(shown, f"the new certificate at {url}", installation.tail)
