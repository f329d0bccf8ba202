"""What can go wrong between RedFlag and its broker."""


class BrokerConfigError(Exception):
    """Base of this package's errors."""


class BrokerUnreachableError(BrokerConfigError):
    """No connection to the broker within the time given."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the broker at {url} cannot be reached: {reason}")
        self.url = url
        self.reason = reason


class CredentialsError(BrokerConfigError):
    """A file does not hold a user's NKey seed, or a text is not a user's public NKey."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not an NKey of a user")
        self.what = what


class ApiError(BrokerConfigError):
    """JetStream answered a request with an error.

    Attributes:
        operation: the API operation, for example ``STREAM.CREATE.UP``.
        code: HTTP-like status.
        err_code: JetStream's own number of the error.
        description: its text.
    """

    def __init__(self, operation: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{operation}: {description} (status {code}, error {err_code})")
        self.operation = operation
        self.code = code
        self.err_code = err_code
        self.description = description


class ApiTimeoutError(BrokerConfigError):
    """JetStream did not answer in time; a missing permission looks the same."""

    def __init__(self, operation: str, deadline_s: float) -> None:
        super().__init__(f"{operation}: no answer within {deadline_s:g} s")
        self.operation = operation
