"""Answers enrolment, renewal and confirmation over the broker, shared by all dispatchers (queue group ``auth``).

Guarantees: every request gets one JSON answer ``{"status", "body"}`` within its deadline; at most ``AT_ONCE`` are
worked on, more than ``WAITING_MAX`` waiting ones are answered 503 at once; a fault of the database is a 503 the agent
tries again after, never a 403.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from redflag_broker_config.subjects import SERVICE_CONFIRM, SERVICE_ENROLL, SERVICE_QUEUE, SERVICE_RENEW
from redflag_dispatcher.enrolment import Enrolments
from redflag_dispatcher.errors import EnrolmentRefusedError
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.refusal_notices import RENEWED, Notice, Reason, of_enrolment, of_renewal
from redflag_dispatcher.renewal import Renewals, SignedRequest
from redflag_dispatcher.retrying import TRANSIENT
from redflag_ops.logging import get_logger
from redflag_wire import base64_strict, limits, strict_json
from redflag_wire.errors import WireError
from redflag_wire.http_signature import RequestParts

AT_ONCE = 16  # requests worked on
WAITING_MAX = 512  # requests that wait for their turn
DEADLINE_S = 8.0  # for one request, waiting included; the gateway gives up later than that

_log = get_logger()

Answer = tuple[int, Mapping[str, Any]]
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        raise EnrolmentRefusedError("request_form", f"{name} is a text", status=400)
    return value


def _bytes(request: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64_strict.decode(_text(request, name))
    except WireError as error:
        raise EnrolmentRefusedError("request_form", f"{name}: {error.detail}", status=400) from None


def signed_request(request: Mapping[str, Any]) -> SignedRequest:
    """Read a renewal or confirmation as the gateway passes it on.

    Raises:
        EnrolmentRefusedError: 400 ``request_form``.
    """
    authorization = request.get("authorization")
    parts = RequestParts(
        method=_text(request, "method"),
        target_uri=_text(request, "target_uri"),
        content_type=_text(request, "content_type"),
        content_digest=_text(request, "content_digest"),
        rf_nonce=_text(request, "rf_nonce"),
        authorization=authorization if isinstance(authorization, str) else None,
    )
    return SignedRequest(
        parts, _text(request, "signature_input"), _text(request, "signature"), _bytes(request, "body")
    )


class AuthService:
    """The three services.

    Args:
        nc: the broker.
        enrolments: answers enrolment.
        renewals: answers renewal and confirmation.
        metrics: counts outcomes.
        note: takes what people should know of refusals.
    """

    def __init__(
        self,
        nc: Client,
        enrolments: Enrolments,
        renewals: Renewals,
        *,
        metrics: Metrics,
        note: Callable[[Notice], None] = lambda _notice: None,
    ) -> None:
        self._nc = nc
        self._enrolments = enrolments
        self._renewals = renewals
        self._metrics = metrics
        self._note = note
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe to the three subjects."""
        handlers: dict[str, Handler] = {
            SERVICE_ENROLL: self._enrol,
            SERVICE_RENEW: self._renew,
            SERVICE_CONFIRM: self._confirm,
        }
        for subject, handler in handlers.items():
            self._subscriptions.append(
                await self._nc.subscribe(subject, queue=SERVICE_QUEUE, cb=self._receiver(handler))
            )

    async def stop(self) -> None:
        """Take no more requests and let the ones at work end."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)

    def _receiver(self, handler: Handler) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            if len(self._tasks) >= WAITING_MAX:
                await self._reply(message, (503, {"code": "busy", "detail": "too many requests at once"}))
                return
            task = asyncio.create_task(self._serve(message, handler), name=f"auth {message.subject}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return receive

    async def _serve(self, message: Msg, handler: Handler) -> None:
        name = message.subject.rpartition(".")[2]
        counter = self._metrics.enrolments if message.subject == SERVICE_ENROLL else self._metrics.renewals
        try:
            async with asyncio.timeout(DEADLINE_S), self._turn:
                answer = await handler(self._parse(message.data))
            counter.labels("ok").inc()
        except EnrolmentRefusedError as error:
            _log.warning("auth.refused", service=name, code=error.code, detail=error.detail)
            counter.labels(error.code).inc()
            answer = (error.status, {"code": error.code, "detail": error.detail})
        except TRANSIENT as error:
            _log.warning("auth.unavailable", service=name, error=str(error) or type(error).__name__)
            counter.labels("unavailable").inc()
            answer = (503, {"code": "unavailable", "detail": "try again later"})
        except Exception:  # noqa: BLE001 - one request's fault must not go unanswered; it is recorded with its stack
            _log.error("auth.fault", service=name, exc_info=True)
            counter.labels("fault").inc()
            answer = (500, {"code": "internal", "detail": "an error that was recorded"})
        await self._reply(message, answer)

    async def _reply(self, message: Msg, answer: Answer) -> None:
        if message.reply and not self._nc.is_closed:
            status, body = answer
            await self._nc.publish(message.reply, json.dumps({"status": status, "body": body}).encode())

    @staticmethod
    def _parse(data: bytes) -> Mapping[str, Any]:
        try:
            found = strict_json.loads(data, max_string_bytes=2 * limits.ENVELOPE_MAX_BYTES)
        except WireError as error:
            raise EnrolmentRefusedError("request_form", error.detail, status=400) from None
        if not isinstance(found, dict):
            raise EnrolmentRefusedError("request_form", "not an object", status=400)
        return found

    async def _enrol(self, request: Mapping[str, Any]) -> Answer:
        peer = _text(request, "peer")
        try:
            envelope = await self._enrolments.enrol(_bytes(request, "envelope"), peer)
        except EnrolmentRefusedError as error:
            reason = Reason.MALFORMED if error.reason is None else Reason(error.reason)
            self._note(of_enrolment(reason, error.code, peer, error.token))
            raise
        return 200, {"enrolled": envelope.to_object()}

    async def _renew(self, request: Mapping[str, Any]) -> Answer:
        with self._told("renew"):
            answer = await self._renewals.renew(signed_request(request))
        self._note(RENEWED)
        return 200, answer.model_dump(mode="json")

    async def _confirm(self, request: Mapping[str, Any]) -> Answer:
        with self._told("confirm"):
            answer = await self._renewals.confirm(signed_request(request))
        return 200, answer.model_dump(mode="json")

    @contextmanager
    def _told(self, service: str) -> Iterator[None]:
        try:
            yield
        except EnrolmentRefusedError as error:
            self._note(of_renewal(error.code, service))
            raise
