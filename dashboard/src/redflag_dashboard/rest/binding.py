"""From a request to valid models, or to a problem that says which part does not fit.

Guarantees: unknown and repeated query parameters are refused; a body is read up to a bound, must be declared as
JSON, and is parsed by the wire's strict parser (duplicate keys, NaN, depth, lone surrogates) before pydantic
sees it, in strict mode: a number in quotes is not a number.
"""

from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Nothing
from redflag_wire import strict_json
from redflag_wire.errors import WireError

BODY_MAX_BYTES: Final = 1024 * 1024  # 4,000 packages named in full are about half of it
FAULTS_MAX: Final = 20  # named in one answer; the rest is only counted

TEXT: Final = "[text]"  # tags of the two forms of one value; no part of its place
OBJECT: Final = "[object]"

_PREFIX: Final = "Value error, "  # put by pydantic before the words of our own checks

ModelT = TypeVar("ModelT", bound=BaseModel)


def _refuse(part: str, error: ValidationError) -> ProblemError:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    named = [
        {
            "where": part
            + "".join(f"/{_pointer(step)}" for step in fault["loc"] if step not in (TEXT, OBJECT)),
            "message": fault["msg"].removeprefix(_PREFIX),
        }
        for fault in faults[:FAULTS_MAX]
    ]
    first = named[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ProblemError(
        ProblemCode.INVALID_REQUEST, f"{first['where']}: {first['message']}{more}", extra={"errors": named}
    )


def _pointer(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")[:128]


def bind_path(request: web.Request, model: type[ModelT]) -> ModelT:
    """The path's parameters.

    Raises:
        ProblemError: `invalid_request`.
    """
    try:
        return model.model_validate(dict(request.match_info))
    except ValidationError as error:
        raise _refuse("path", error) from None


def bind_query(request: web.Request, model: type[ModelT]) -> ModelT:
    """The query's parameters; each at most once.

    Raises:
        ProblemError: `invalid_request`.
    """
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            detail = f"query/{_pointer(name)}: given more than once"
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                detail,
                extra={"errors": [{"where": f"query/{_pointer(name)}", "message": "given more than once"}]},
            )
        if "\x00" in value:  # PostgreSQL's text cannot hold it
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                f"query/{_pointer(name)}: holds a NUL character",
                extra={"errors": [{"where": f"query/{_pointer(name)}", "message": "holds a NUL character"}]},
            )
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refuse("query", error) from None


async def read_body(request: web.Request, model: type[BaseModel]) -> bytes:
    """The body's bytes, for a route that takes one; empty for one that takes none.

    Raises:
        ProblemError: `unsupported_media_type`, or `malformed_request` for a body where none belongs. A body that
            is too large raises aiohttp's own error, which the middleware answers with `body_too_large`.
    """
    data = await request.read()
    if issubclass(model, Nothing):
        if data:
            raise ProblemError(ProblemCode.MALFORMED_REQUEST, "this operation takes no body")
        return b""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise ProblemError(
            ProblemCode.UNSUPPORTED_MEDIA_TYPE, "send the body as UTF-8 with Content-Type: application/json"
        )
    return data


def bind_body(data: bytes, model: type[ModelT]) -> ModelT:
    """The body as a model.

    Raises:
        ProblemError: `malformed_json` or `invalid_request`.
    """
    if issubclass(model, Nothing):
        return model()
    try:
        strict_json.loads(data)
    except WireError as error:
        raise ProblemError(ProblemCode.MALFORMED_JSON, f"{error.code}: {error.detail}") from None
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _refuse("body", error) from None
