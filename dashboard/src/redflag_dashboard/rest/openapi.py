"""The OpenAPI 3.1 document, made from the routes themselves, so that it cannot say anything else than they do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from redflag_dashboard.rest import context, idempotency
from redflag_dashboard.rest.problems import CONTENT_TYPE, KINDS, Problem, ProblemCode
from redflag_dashboard.rest.route import AnyRoute, Nothing

PREFIX: Final = "/api/v1"
_REF: Final = "#/components/schemas/{model}"
_SECURITY: Final = "api_key"
_Key = tuple[type[BaseModel], JsonSchemaMode]
_Schemas = Mapping[Any, dict[str, Any]]

_ALWAYS: Final = (ProblemCode.MALFORMED_REQUEST, ProblemCode.INTERNAL, ProblemCode.DATABASE_UNAVAILABLE)


def document(routes: Iterable[AnyRoute], version: str) -> dict[str, Any]:
    """The document that describes `routes`."""
    listed = list(routes)
    schemas, components = models_json_schema(
        [*_models(listed)], ref_template=_REF, title="RedFlag", description=None
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        paths.setdefault(PREFIX + route.template, {})[route.method.lower()] = _operation(
            route, schemas, components["$defs"]
        )
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "RedFlag",
            "version": version,
            "summary": "What operators do, over HTTP.",
            "description": _DESCRIPTION,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "security": [{_SECURITY: []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in listed)],
        "paths": paths,
        "components": {
            "schemas": components["$defs"],
            "securitySchemes": {
                _SECURITY: {"type": "http", "scheme": "bearer", "description": "An API key: rfk_..."}
            },
            "headers": {
                context.HEADER: {
                    "description": "Correlation id of the request, in every log and on the wire",
                    "schema": {"type": "string", "format": "uuid"},
                },
                "Location": {
                    "description": "Where what was made is found, when it has a place of its own",
                    "schema": {"type": "string", "format": "uri-reference"},
                },
                "Retry-After": {
                    "description": "Seconds after which it is worth asking again, when that is known",
                    "schema": {"type": "integer"},
                },
            },
        },
    }
    _use_ecma_anchors(found)
    return found


def _use_ecma_anchors(node: Any) -> None:  # noqa: ANN401 - any JSON value
    r"""Write `\A` and `\z` of our patterns as the `^` and `$` that JSON Schema's dialect has for them."""
    if isinstance(node, dict):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            node["pattern"] = re.sub(r"\\z\Z", "$", re.sub(r"\A\\A", "^", pattern))
        for one in node.values():
            _use_ecma_anchors(one)
    elif isinstance(node, list):
        for one in node:
            _use_ecma_anchors(one)


_MADE: Final = (201, 202)  # answers that may have a Location
_TRY_AGAIN: Final = (409, 429, 503)  # answers that may have a Retry-After

_DESCRIPTION: Final = (
    f"Errors are problem details (RFC 9457) with a stable `code`. Each answer carries `{context.HEADER}`; send "
    "your own UUID to find a request again. Lists come in pages: pass `next` as `cursor`. Routes that change "
    f"something take `{idempotency.HEADER}`: the same request sent again with the same key gets the same answer "
    "for as long as the setting `retention.idempotency_hours` says."
)


def _models(routes: Sequence[AnyRoute]) -> dict[_Key, None]:
    keys: dict[_Key, None] = {(Problem, "serialization"): None}
    for route in routes:
        keys[route.answer, "serialization"] = None
        if not issubclass(route.body, Nothing):
            keys[route.body, "validation"] = None
    return keys


def _operation(route: AnyRoute, schemas: _Schemas, definitions: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *_parameters(route.path, "path", definitions),
            *_parameters(route.query, "query", definitions),
            *_headers(route),
        ],
        "responses": {
            str(route.status): {
                "description": "Done" if not route.changes else "Stored",
                "headers": _answer_headers(route.status),
                "content": {
                    "application/json": {"schema": schemas[route.answer, "serialization"]},
                    **({"text/csv": {"schema": {"type": "string"}}} if route.streams else {}),
                },
            },
            **_problems(route, schemas[Problem, "serialization"]),
        },
    }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["description"] = f"Needs a key with the scope `{route.scope}`."
    if not issubclass(route.body, Nothing):
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[route.body, "validation"]}},
        }
    return operation


def _parameters(model: type[BaseModel], where: str, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions.update(schema.get("$defs", {}))
    required = set(schema.get("required", ()))
    found = []
    for name, one in schema.get("properties", {}).items():
        parameter = {"name": name, "in": where, "required": name in required, "schema": _without_null(one)}
        if "description" in one:
            parameter["description"] = one["description"]
        found.append(parameter)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not one that may be null."""
    kept = {name: value for name, value in schema.items() if name not in ("title", "description")}
    if kept.get("default", ...) is None:
        del kept["default"]
    choices = [one for one in kept.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) == 1:
        del kept["anyOf"]
        kept.update(choices[0])
    return kept


def _headers(route: AnyRoute) -> list[dict[str, Any]]:
    if not route.changes:
        return []
    return [
        {
            "name": idempotency.HEADER,
            "in": "header",
            "required": False,
            "description": "Makes it safe to send the request again",
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        }
    ]


def _answer_headers(status: int) -> dict[str, Any]:
    named = [context.HEADER]
    if status in _MADE:
        named.append("Location")
    if status in _TRY_AGAIN:
        named.append("Retry-After")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in named}


def _problems(route: AnyRoute, schema: dict[str, Any]) -> dict[str, Any]:
    codes = [*_ALWAYS, *route.problems]
    if route.scope is not None:
        codes += [ProblemCode.UNAUTHENTICATED, ProblemCode.SCOPE_MISSING]
    if not issubclass(route.body, Nothing):
        codes += [
            ProblemCode.MALFORMED_JSON,
            ProblemCode.BODY_TOO_LARGE,
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
        ]
    if route.streams:
        codes.append(ProblemCode.TOO_MANY_WAITING)
    if route.changes:
        codes += [ProblemCode.IDEMPOTENCY_IN_FLIGHT, ProblemCode.IDEMPOTENCY_MISMATCH]
    codes.append(ProblemCode.INVALID_REQUEST)
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(KINDS[code].status, []).append(f"`{code}`")
    return {
        str(status): {
            "description": ", ".join(names),
            "headers": _answer_headers(status),
            "content": {CONTENT_TYPE: {"schema": schema}},
        }
        for status, names in sorted(by_status.items())
    }


def aiohttp_path(template: str) -> str:
    """The path as aiohttp matches it: a field is one segment, never empty."""
    return PREFIX + re.sub(r"\{(\w+)\}", r"{\1:[^{}/]+}", template)
