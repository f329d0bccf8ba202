"""What the dispatcher refuses, by family; each error carries the code that counters, events and answers show."""


class DispatcherError(Exception):
    """The root of the errors the dispatcher raises itself."""


class RefusedError(DispatcherError):
    """Something a peer sent does not hold.

    Attributes:
        code: short snake_case name of the rule that refused; bounded, so it may label a counter.
        detail: what exactly did not fit, for the event's text; never longer than a line.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class IntentRefusedError(RefusedError):
    """A requested command is not covered by a signed intent (docs/protocol.md 6)."""


class ReportRefusedError(RefusedError):
    """A report did not pass the ladder of docs/protocol.md 6; it is not stored."""


class EnrolmentRefusedError(RefusedError):
    """An enrolment or a renewal is refused (docs/protocol.md 8.1 and 8.4).

    Attributes:
        status: the HTTP status the gateway answers with.
        reason: why, for operators only; None where the code says it.
        token: public part of the token, for operators only.
    """

    def __init__(self, code: str, detail: str, *, status: int = 403, reason: str | None = None) -> None:
        super().__init__(code, detail)
        self.status = status
        self.reason = reason
        self.token: str | None = None


class KeySetError(DispatcherError):
    """The signing keys on disk and the key manifest in the database do not fit together."""


class PublishError(DispatcherError):
    """The broker did not take a message.

    Attributes:
        code: JetStream's ``err_code``, or 0 when there was no answer in time.
        detail: the broker's words.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
