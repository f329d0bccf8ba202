"""Every way the wire refuses something, by family.

Each error carries a stable ``code`` (snake case, for counters, events and answers) and a ``detail`` for people. The
detail never holds secret material and is short whatever a peer sent, so that it can be logged as it is.
"""

from typing import Final

DETAIL_MAX_CHARS: Final = 400  # characters of detail kept; a peer's bytes must not fill a log


class WireError(Exception):
    """The root of everything this library raises on purpose.

    Attributes:
        code: stable, short, snake case; part of the interface.
        detail: one sentence for people, at most ``DETAIL_MAX_CHARS`` characters; may change.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail[:DETAIL_MAX_CHARS]
        super().__init__(f"{code}: {self.detail}" if detail else code)

    def __reduce__(self) -> tuple[type["WireError"], tuple[str, str]]:
        return (type(self), (self.code, self.detail))


class JsonRefusedError(WireError):
    """Bytes are not the strict JSON of docs/protocol.md 2."""


class Base64RefusedError(WireError):
    """Text is not the one canonical base64 form of any bytes."""


class EnvelopeRefusedError(WireError):
    """An envelope is too large, malformed, or of another type than expected."""


class SchemaRefusedError(WireError):
    """JSON does not fit its closed schema."""


class KeyRefusedError(WireError):
    """Key material has the wrong form, the wrong use, or is weak."""


class SignatureRefusedError(WireError):
    """No signature by an acceptable key fits."""


class ManifestRefusedError(WireError):
    """A key manifest may not follow the one that is trusted."""


class TokenRefusedError(WireError):
    """A text is no enrolment token, or an access token's claims do not fit."""


class FramingRefusedError(WireError):
    """A batch of framed reports is malformed or too large."""


class BodyRefusedError(WireError):
    """A report's body is too large, corrupt, or not the one the signature names."""


class RequestRefusedError(WireError):
    """An HTTP request is not signed as the one profile of docs/protocol.md 8.3 demands."""
