"""What can go wrong in the gateway, by family.

A `Refusal` is an answer to the agent: it carries the HTTP status and a stable code. A `BrokerError` is about the
broker and becomes a 503 at the edge; nothing else of the broker's words reaches an agent.
"""

from http import HTTPStatus


class GatewayError(Exception):
    """Base of the gateway's errors."""


class Refusal(GatewayError):  # noqa: N818 - an answer, not a fault of the program
    """The request is refused.

    Args:
        status: the HTTP status of the answer.
        code: short, stable, snake_case; counted per code.
        detail: one sentence for people; never holds what the peer sent.
        retry_after_s: seconds after which another try makes sense.
    """

    def __init__(self, status: HTTPStatus, code: str, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


class UnauthorizedError(Refusal):
    """401: who asks is not shown."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, code, detail)


class ForbiddenError(Refusal):
    """403: who asks is known and may not."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, code, detail)


class MalformedError(Refusal):
    """400: the request is not of the form the protocol gives it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, code, detail)


class TooLargeError(Refusal):
    """413: final for this body; sending it again does not help."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"At most {limit} bytes are accepted."
        )


class BusyError(Refusal):
    """429: more is being asked of the gateway than it passes on to the broker at a time."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, "busy", "Ask again later.", retry_after_s)


class TooOftenError(Refusal):
    """429: this agent asks more often than one may (`agent_rate`)."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            HTTPStatus.TOO_MANY_REQUESTS, "too_often", "This agent asks too often.", retry_after_s
        )


class UnavailableError(Refusal):
    """503: something the gateway needs is away."""

    def __init__(self, code: str, detail: str, retry_after_s: int) -> None:
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, retry_after_s)


class BrokerError(GatewayError):
    """Base of what happens between gateway and broker."""


class BrokerAwayError(BrokerError):
    """There is no connection to the broker."""


class BrokerTimeoutError(BrokerError):
    """The broker did not answer in time, or the gateway may not ask that."""


class NobodyAnswersError(BrokerError):
    """Nobody listens on that subject: the service is away, or the consumer does not exist."""


class NotStoredError(BrokerError):
    """The broker refused to store a message."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"not stored: {description} ({code})")
        self.code = code
