"""Asking each part whether it is ready; every question has a deadline, every no has a reason."""

import asyncio
import json
from http import HTTPStatus

import aiohttp

ASK_DEADLINE_S = 4.0  # beyond the programs' own deadline for their checks
ANSWER_MAX_BYTES = 64 * 1024


async def ask_http(url: str) -> str | None:
    """Return None when `url` answers 200, else why not, with the checks that failed where it names them."""
    try:
        async with asyncio.timeout(ASK_DEADLINE_S):
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                body = await answer.content.read(ANSWER_MAX_BYTES)
                if answer.status == HTTPStatus.OK:
                    return None
                return _failed_checks(body) or f"{url} answers {answer.status}"
    except TimeoutError:
        return f"{url} does not answer within {ASK_DEADLINE_S:g} s"
    except aiohttp.ClientError as error:
        return f"{url}: {error}"


def _failed_checks(body: bytes) -> str:
    try:
        checks = json.loads(body)["checks"]
        return "; ".join(f"{name}: {reason}" for name, reason in checks.items() if reason != "ok")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
