"""Questions to the auth service: enrolment and renewal go through the broker to the dispatcher, and back.

Guarantees: only so many are under way at a time, whoever asks; the service's answer is passed on only as a status of
a known kind with a JSON object; that nobody answers is a 503.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from redflag_gateway.broker import Broker
from redflag_gateway.errors import BusyError, NobodyAnswersError, Refusal, UnavailableError

UNDER_WAY_MAX = 64  # questions at a time; anybody may ask to enrol
DEADLINE_S = 15.0
RETRY_S = 10
CODE_MAX_CHARS = 64
DETAIL_MAX_CHARS = 500


class Services:
    """Asks the auth service.

    Args:
        broker: the connection.
        under_way_max: questions at a time.
    """

    def __init__(self, broker: Broker, under_way_max: int = UNDER_WAY_MAX) -> None:
        self._broker = broker
        self._slots = asyncio.Semaphore(under_way_max)

    async def ask(self, subject: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask and return the body of the answer.

        Raises:
            Refusal: what the service refused, with its status and code.
            UnavailableError: ``service_away``: nobody answers.
            BusyError: too many questions are under way.
            BrokerError: the broker could not be asked.
        """
        if self._slots.locked():
            raise BusyError(RETRY_S)
        async with self._slots:
            try:
                message = await self._broker.request(
                    "service", subject, json.dumps(question).encode(), deadline_s=DEADLINE_S
                )
            except NobodyAnswersError:
                raise UnavailableError("service_away", "Nobody can answer this now.", RETRY_S) from None
        return _read(message.data)


def _read(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
        status, body = HTTPStatus(answer["status"]), answer["body"]
    except (ValueError, KeyError, TypeError):
        raise UnavailableError("service_answer", "The answer could not be read.", RETRY_S) from None
    if not isinstance(body, dict):
        raise UnavailableError("service_answer", "The answer could not be read.", RETRY_S)
    if status is HTTPStatus.OK:
        return body
    code = str(body.get("code", "refused"))[:CODE_MAX_CHARS]
    retry_after = (
        RETRY_S if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE} else None
    )
    raise Refusal(status, code, str(body.get("detail", ""))[:DETAIL_MAX_CHARS], retry_after)
