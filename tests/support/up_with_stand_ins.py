"""Run `redflag up` with the real PostgreSQL and nats-server, and stand-ins for RedFlag's own programs.

A stand-in answers its readiness probe and ends at SIGTERM. Called as a script with the options of `redflag up`;
REDFLAG_STAND_IN_BROKEN names a program that ends at once instead.
"""

import os
import sys
from collections.abc import Mapping

from redflag.embedded.launch import Launch
from redflag.main import app
from redflag.up import programs
from redflag.up.leftovers import mark

STAND_IN = """
import http.server, json, os, signal, sys
class Probe(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_):
        pass
name = sys.argv[1]
print(json.dumps({"level": "info", "event": name + ".started", "program": name}), flush=True)
print(json.dumps({"level": "warning", "event": name + ".odd", "program": name}), flush=True)
if os.environ.get("REDFLAG_STAND_IN_BROKEN") == name:
    sys.exit(f"{name} is broken")
host, port = os.environ["REDFLAG_OPS_LISTEN"].split(":")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.HTTPServer((host, int(port)), Probe).serve_forever()
"""


def stand_in(
    wiring: programs.Wiring,
    name: str,
    module: str,
    settings: Mapping[str, str],
    arguments: tuple[str, ...] = (),
) -> Launch:
    environment = {**settings, **mark(wiring.data.root, name)}
    for variable in ("PATH", "REDFLAG_STAND_IN_BROKEN"):
        if variable in os.environ:
            environment[variable] = os.environ[variable]
    return Launch((sys.executable, "-c", STAND_IN, name), environment)


if __name__ == "__main__":
    programs._launch = stand_in
    sys.exit(app())
