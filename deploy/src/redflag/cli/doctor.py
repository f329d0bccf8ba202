"""`redflag doctor`: is everything well, and what to do where it is not.

Guarantees: every question has a deadline; one thing that fails does not keep the others from being looked at,
apart from those that need it.
"""

import asyncio
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp

from redflag.cli.connection import Api
from redflag.cli.doctor_rules import (
    Finding,
    Verdict,
    is_well,
    judge_agents,
    judge_certificate,
    judge_clock,
    judge_disk,
    judge_key_file,
    read_gauge,
)
from redflag.cli.exit_codes import ExitCode
from redflag.cli.find_server import Server, find_server
from redflag.cli.local_parts import ops_urls, read_ports
from redflag.cli.options import COMMON, Common
from redflag.cli.output import Cell, Column, Output, Styled
from redflag.cli.problems import CliError
from redflag.cli.run import run_alone
from redflag.cli.words import parse_time, style_of
from redflag.up.readiness import ask_http

HOSTS_LOOKED_AT: Final = 2000
PROBE_DEADLINE_S: Final = 10.0
_WITH_TLS: Final = ("gateway", "dashboard")
DOCTOR: Final = "redflag doctor"  # as other commands advise it

_COLUMNS = (Column("What", whole=True), Column("How"), Column("Found"), Column("What to do"))


def doctor(*, common: Common = COMMON) -> int:
    """Look at everything; exit code 1 when something failed."""

    async def work(out: Output) -> ExitCode:
        findings = await examine(common)
        if out.as_json:
            out.json(
                {
                    "well": is_well(findings),
                    "checks": [
                        {"what": one.what, "verdict": one.verdict, "detail": one.detail, "advice": one.advice}
                        for one in findings
                    ],
                }
            )
        else:
            out.table(_COLUMNS, [_row(one) for one in findings])
        return ExitCode.DONE if is_well(findings) else ExitCode.FAILED

    return run_alone(common, work)


def _row(finding: Finding) -> list[Cell]:
    return [
        finding.what,
        Styled(finding.verdict.value, style_of(finding.verdict.value)),
        finding.detail,
        finding.advice,
    ]


async def examine(common: Common) -> list[Finding]:
    """Look at everything, in the order in which one thing needs the other."""
    try:
        server = find_server(common, os.environ)
    except CliError as error:
        return [_failed("configuration", error)]
    findings = [Finding("configuration", Verdict.OK, f"{server.api_url} from {server.found}")]
    async with Api(server) as api:
        findings += await _ask_api(api)
    if server.data is None:
        findings.append(
            Finding(
                "programs", Verdict.OK, "the server is elsewhere; its programs are not looked at from here"
            )
        )
    else:
        findings += await _look_around(server, common)
    return findings


def _failed(what: str, error: CliError) -> Finding:
    # Who reads this runs the doctor already.
    return Finding(
        what, Verdict.FAILED, error.message, "; ".join(hint for hint in error.hints if hint != DOCTOR)
    )


async def _ask_api(api: Api) -> list[Finding]:
    try:
        info = await api.get("/info")
    except CliError as error:
        return [_failed("API", error)]
    findings = [Finding("API", Verdict.OK, f"{info.get('name')} {info.get('version')} answers")]
    server_time = parse_time(info.get("time")) or api.server_time
    if server_time is not None:
        findings.append(judge_clock(server_time, datetime.now(UTC)))
    try:
        page = await api.pages("/hosts", {}, limit=HOSTS_LOOKED_AT)
    except CliError as error:
        return [*findings, _failed("API key", error)]
    return [
        *findings,
        Finding("API key", Verdict.OK, "accepted"),
        judge_agents(page["items"], api.now),
    ]


async def _look_around(server: Server, common: Common) -> list[Finding]:
    data = server.data
    if data is None:
        return []
    try:
        probes = ops_urls(read_ports(data))
    except CliError as error:
        findings = [_failed("programs", error)]
    else:
        findings = list(await asyncio.gather(*(_probe(name, url) for name, url in probes.items())))
        certificates = await asyncio.gather(*(_certificate(name, probes.get(name)) for name in _WITH_TLS))
        findings += [one for one in certificates if one is not None]
    key_file = common.api_key_file or data.admin_key
    try:
        findings.append(judge_key_file(key_file.stat().st_mode))
        usage = shutil.disk_usage(data.root)
        findings.append(judge_disk("disk", usage.free, usage.total))
    except OSError as error:
        findings.append(Finding("data directory", Verdict.FAILED, f"{error.filename}: {error.strerror}"))
    return findings


async def _probe(name: str, url: str) -> Finding:
    if _token_file() is None:
        reason = await ask_http(f"{url}/readyz")
    else:
        reason = (await _ask_with_token(f"{url}/readyz"))[0]
    if reason is None:
        return Finding(name, Verdict.OK, "ready")
    return Finding(name, Verdict.FAILED, reason, f"look at logs/{name}.log in the data directory")


async def _certificate(program: str, url: str | None) -> Finding | None:
    """Look at what a program really serves, by its own word; None where it serves no TLS or does not answer."""
    if url is None:
        return None
    reason, metrics = await _ask_with_token(f"{url}/metrics")
    ends = read_gauge(metrics, f"redflag_{program}_tls_not_after_seconds")
    if reason is not None or ends is None:
        return None
    return judge_certificate(
        f"{program} certificate",
        datetime.fromtimestamp(ends, UTC),
        datetime.now(UTC),
        new_one_refused=bool(read_gauge(metrics, f"redflag_{program}_tls_reload_refused")),
    )


async def _ask_with_token(url: str) -> tuple[str | None, str]:
    """Return why there is no good answer, or None, and the answer's text."""
    token_file = _token_file()
    token = None if token_file is None else await asyncio.to_thread(_read_token, token_file)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        async with asyncio.timeout(PROBE_DEADLINE_S):
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
                text = await answer.text()
                return None if answer.ok else f"{url} answers {answer.status}", text
    except TimeoutError:
        return f"{url} does not answer within {PROBE_DEADLINE_S:g} s", ""
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{url}: {error}", ""


def _token_file() -> str | None:
    return os.environ.get("REDFLAG_OPS_TOKEN_FILE") or None


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""  # the probe's answer then says that it wants one
