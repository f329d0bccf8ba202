"""Every error the API answers with: one closed list of codes, one shape (RFC 9457 problem details).

Guarantees: the body of every answer of 400 and above is `application/problem+json` with `type`, `title`,
`status`, `detail`, `code` and `correlation_id`; a code never changes its meaning or its status, so that scripts
may depend on it. What went wrong inside is in the log, never in an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from redflag_dashboard.rest import json_text

CONTENT_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:redflag:problem:"


class ProblemCode(StrEnum):
    """What went wrong. When you add one, add it to `KINDS` and to the operator CLI's exit codes."""

    MALFORMED_REQUEST = "malformed_request"
    MALFORMED_JSON = "malformed_json"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope_missing"
    NOT_FOUND = "not_found"
    HOST_NOT_FOUND = "host_not_found"
    COMMAND_NOT_FOUND = "command_not_found"
    JOB_NOT_FOUND = "job_not_found"
    GROUP_NOT_FOUND = "group_not_found"
    NO_FIGURES = "no_figures"
    SETTING_NOT_FOUND = "setting_not_found"
    SUBSYSTEM_NOT_FOUND = "subsystem_not_found"
    PLAN_NOT_FOUND = "plan_not_found"
    UPDATE_NOT_FOUND = "update_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HOST_AMBIGUOUS = "host_ambiguous"
    HOST_NOT_ACTIVE = "host_not_active"
    AGENT_TOO_OLD = "agent_too_old"
    COMMAND_ENDED = "command_ended"
    NOT_CANCELLABLE = "not_cancellable"
    NOT_ENDED = "not_ended"
    NOT_RETRYABLE = "not_retryable"
    ALREADY_RETRIED = "already_retried"
    RETRY_TOO_DEEP = "retry_too_deep"
    JOB_ENDED = "job_ended"
    NO_HOSTS = "no_hosts"
    TOO_MANY_HOSTS = "too_many_hosts"
    GROUP_EXISTS = "group_exists"
    TOO_MANY_GROUPS = "too_many_groups"
    TOO_MANY_TAGS = "too_many_tags"
    TREE_CYCLE = "tree_cycle"
    TREE_TOO_DEEP = "tree_too_deep"
    PACKAGE_AMBIGUOUS = "package_ambiguous"
    MANAGER_AMBIGUOUS = "manager_ambiguous"
    MANAGER_UNKNOWN = "manager_unknown"
    HOST_CANNOT_INSTALL = "host_cannot_install"
    NOTHING_TO_DO = "nothing_to_do"
    ALREADY_PENDING = "already_pending"
    TOO_MANY_PENDING = "too_many_pending"
    TOO_MANY_PACKAGES = "too_many_packages"
    NOT_APPROVED = "not_approved"
    PLAN_OUTDATED = "plan_outdated"
    CONFIRMATION_REQUIRED = "confirmation_required"
    NO_ROOT_KEYS = "no_root_keys"
    IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    INVALID_REQUEST = "invalid_request"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    DATABASE_UNAVAILABLE = "database_unavailable"
    TOO_MANY_WAITING = "too_many_waiting"
    AUTHORITY_UNREADABLE = "authority_unreadable"


@dataclass(frozen=True, slots=True)
class Kind:
    """The HTTP status and the constant title of a code."""

    status: int
    title: str


KINDS: Final[Mapping[ProblemCode, Kind]] = {
    ProblemCode.MALFORMED_REQUEST: Kind(400, "The request is malformed"),
    ProblemCode.MALFORMED_JSON: Kind(400, "The body is not acceptable JSON"),
    ProblemCode.UNAUTHENTICATED: Kind(401, "A valid API key is needed"),
    ProblemCode.SCOPE_MISSING: Kind(403, "The API key may not do this"),
    ProblemCode.NOT_FOUND: Kind(404, "There is nothing here"),
    ProblemCode.HOST_NOT_FOUND: Kind(404, "No such host"),
    ProblemCode.COMMAND_NOT_FOUND: Kind(404, "No such command"),
    ProblemCode.JOB_NOT_FOUND: Kind(404, "No such job"),
    ProblemCode.PLAN_NOT_FOUND: Kind(404, "No such plan"),
    ProblemCode.UPDATE_NOT_FOUND: Kind(404, "No such update on this host"),
    ProblemCode.METHOD_NOT_ALLOWED: Kind(405, "The method is not allowed here"),
    ProblemCode.HOST_AMBIGUOUS: Kind(409, "Several hosts have this name"),
    ProblemCode.HOST_NOT_ACTIVE: Kind(409, "The host takes no commands"),
    ProblemCode.AGENT_TOO_OLD: Kind(409, "The host's agent is too old for this"),
    ProblemCode.COMMAND_ENDED: Kind(409, "The command came to its end already"),
    ProblemCode.NOT_CANCELLABLE: Kind(409, "The command cannot be cancelled"),
    ProblemCode.NOT_ENDED: Kind(409, "The command has no end yet"),
    ProblemCode.NOT_RETRYABLE: Kind(409, "The command cannot be asked for again"),
    ProblemCode.ALREADY_RETRIED: Kind(409, "The command was retried already"),
    ProblemCode.RETRY_TOO_DEEP: Kind(409, "The command was retried too often"),
    ProblemCode.JOB_ENDED: Kind(409, "The job came to its end already"),
    ProblemCode.NO_HOSTS: Kind(409, "The selection holds no host"),
    ProblemCode.TOO_MANY_HOSTS: Kind(422, "Too many hosts at once"),
    ProblemCode.NO_FIGURES: Kind(404, "The host never told these figures"),
    ProblemCode.GROUP_NOT_FOUND: Kind(404, "No such group"),
    ProblemCode.SETTING_NOT_FOUND: Kind(404, "No such setting"),
    ProblemCode.SUBSYSTEM_NOT_FOUND: Kind(404, "The host has no such subsystem"),
    ProblemCode.GROUP_EXISTS: Kind(409, "A group of this name exists"),
    ProblemCode.TOO_MANY_GROUPS: Kind(409, "There are too many groups"),
    ProblemCode.TOO_MANY_TAGS: Kind(409, "The host would have too many tags"),
    ProblemCode.TREE_CYCLE: Kind(409, "A host cannot run on itself"),
    ProblemCode.TREE_TOO_DEEP: Kind(409, "The hosts would be nested too deep"),
    ProblemCode.PACKAGE_AMBIGUOUS: Kind(409, "The name fits several packages"),
    ProblemCode.MANAGER_AMBIGUOUS: Kind(409, "The packages belong to several package managers"),
    ProblemCode.MANAGER_UNKNOWN: Kind(422, "The host has no such package manager"),
    ProblemCode.HOST_CANNOT_INSTALL: Kind(409, "The host only looks for updates"),
    ProblemCode.NOTHING_TO_DO: Kind(409, "There is nothing to do"),
    ProblemCode.ALREADY_PENDING: Kind(409, "The same is already under way"),
    ProblemCode.TOO_MANY_PENDING: Kind(409, "The host has too many pending commands"),
    ProblemCode.TOO_MANY_PACKAGES: Kind(422, "Too many packages at once"),
    ProblemCode.NOT_APPROVED: Kind(409, "Not everything asked for is approved"),
    ProblemCode.PLAN_OUTDATED: Kind(409, "The plan is not the host's newest"),
    ProblemCode.CONFIRMATION_REQUIRED: Kind(409, "The plan needs a confirmation"),
    ProblemCode.NO_ROOT_KEYS: Kind(409, "The installation has no keys yet"),
    ProblemCode.IDEMPOTENCY_IN_FLIGHT: Kind(409, "The same request is still being answered"),
    ProblemCode.IDEMPOTENCY_MISMATCH: Kind(422, "The idempotency key was used for another request"),
    ProblemCode.BODY_TOO_LARGE: Kind(413, "The body is too large"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: Kind(415, "The body must be application/json"),
    ProblemCode.EXPECTATION_FAILED: Kind(417, "The expectation is not supported"),
    ProblemCode.INVALID_REQUEST: Kind(422, "The request does not fit its schema"),
    ProblemCode.RATE_LIMITED: Kind(429, "Too much was asked for in too short a time"),
    ProblemCode.INTERNAL: Kind(500, "Something failed inside"),
    ProblemCode.DATABASE_UNAVAILABLE: Kind(503, "The database is away"),
    ProblemCode.TOO_MANY_WAITING: Kind(503, "Too many requests are waiting"),
    ProblemCode.AUTHORITY_UNREADABLE: Kind(503, "The authority that hosts need cannot be read"),
}
"""Code -> status and title; complete (a test holds it)."""


class ProblemError(Exception):
    """A request that is answered with a problem.

    Attributes:
        code: which one.
        detail: what exactly, and what to do; for the person who asked.
        extra: further members of the body, such as `existing` or `missing`.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


class FieldFault(BaseModel):
    """One place of a request that does not fit."""

    where: str = Field(description="`path`, `query` or `body`, then a JSON pointer")
    message: str


class Problem(BaseModel):
    """Problem details, RFC 9457; some codes have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:redflag:problem:` and the code")
    title: str
    status: int
    detail: str
    code: ProblemCode
    correlation_id: UUID
    errors: list[FieldFault] | None = Field(default=None, description="with `invalid_request`")
    missing: list[dict[str, Any]] | None = Field(
        default=None, description="with `not_approved` and `confirmation_required`: what exactly"
    )
    existing: dict[str, Any] | None = Field(
        default=None,
        description="the command in the way: with `already_pending`, `already_retried` (the retry), "
        "`command_ended` and `not_ended`",
    )
    retry_after_s: int | None = Field(
        default=None, description="with `rate_limited`: seconds, as `Retry-After`"
    )


def problem_response(error: ProblemError, op: UUID) -> web.Response:
    """The answer to a request that failed with `error`."""
    kind = KINDS[error.code]
    body = {
        **error.extra,
        "type": _TYPE_PREFIX + error.code,
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "code": str(error.code),
        "correlation_id": str(op),
    }
    return web.Response(
        status=kind.status,
        body=json_text.encode(body),
        content_type=CONTENT_TYPE,
        headers=error.headers,
        reason=HTTPStatus(kind.status).phrase,
    )
