"""What a route is: declared once, and from it come the checks, the answer's shape and its OpenAPI entry.

A handler gets a `Call` whose path, query and body are already valid, from a key that holds the scope, and
returns an `Answer`. Handlers of routes with `changes` find one open transaction in `call.tx`; it is committed
after they return and rolled back when they raise.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.parts import Parts
from redflag_dashboard.rest.problems import ProblemCode


class Scope(StrEnum):
    """What an API key may do; each holds those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_RANK = {Scope.READ: 0, Scope.WRITE: 1, Scope.ADMIN: 2}


def grants(held: frozenset[str], needed: Scope) -> bool:
    """Whether one of the scopes held reaches the one needed; unknown ones give nothing."""
    return any(scope in held for scope, rank in _RANK.items() if rank >= _RANK[needed])


class Strict(BaseModel):
    """Base of every request model: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Strict):
    """A part of a request that must be empty."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        key_id: id of the API key.
        name: stands as the operator in intents, approvals and history.
        scopes: what the key may do.
    """

    key_id: UUID
    name: str
    scopes: frozenset[str]


PathT = TypeVar("PathT", bound=BaseModel)
QueryT = TypeVar("QueryT", bound=BaseModel)
BodyT = TypeVar("BodyT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[PathT, QueryT, BodyT]):
    """One checked request.

    Attributes:
        path: the path's parameters.
        query: the query's parameters.
        body: the body.
        who: the key's owner; None on the few open routes.
        op: the correlation id; becomes the command's `op`.
        parts: what the program is made of.
        session: the open transaction of a route with `changes`, else None; use `tx`.
        retry_of: the ended command that is asked for once more; None for a request of its own.
    """

    path: PathT
    query: QueryT
    body: BodyT
    who: Principal | None
    op: UUID
    parts: Parts
    session: AsyncSession | None = None
    retry_of: UUID | None = None

    @property
    def tx(self) -> AsyncSession:
        """The open transaction.

        Raises:
            RuntimeError: the route does not declare `changes`.
        """
        if self.session is None:
            raise RuntimeError("this route declares no changes")
        return self.session

    def within(self, session: AsyncSession) -> "Call[PathT, QueryT, BodyT]":
        """The same call inside a transaction."""
        return replace(self, session=session)

    @property
    def operator(self) -> str:
        """The name of who asks.

        Raises:
            RuntimeError: the route is an open one.
        """
        if self.who is None:
            raise RuntimeError("an open route has no operator")
        return self.who.name


class Streamed(Protocol):
    """An answer too large for one piece; see `redflag_dashboard.rest.exporting`."""

    async def send(self, request: web.Request, call: Call[Any, Any, Any]) -> web.StreamResponse:
        """Stream it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers with.

    Attributes:
        body: the model; its class is the one the route declares.
        status: the HTTP status; the one the route declares.
        headers: further headers, `Location` for one.
        remembered: what a repeated request with the same idempotency key gets instead of `body`, for answers
            that hold a secret which is never stored.
        stream: of an export, instead of `body`.
    """

    body: BaseModel
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    remembered: BaseModel | None = None
    stream: Streamed | None = None


@dataclass(frozen=True, slots=True)
class Route(Generic[PathT, QueryT, BodyT]):
    """One operation of the API.

    Attributes:
        method: GET or POST.
        template: the path below `/api/v1`, with `{name}` for the fields of `path`.
        name: the operation's id in the OpenAPI document and in logs.
        summary: one line.
        handler: answers it.
        answer: the model of the body when it went well.
        path, query, body: the request's models; `Nothing` where there is nothing to say.
        status: the status when it went well.
        scope: what the key must hold; None for the open routes.
        changes: runs in one transaction and honours `Idempotency-Key`.
        streams: answers with an export (`redflag_dashboard.rest.exporting`), `answer` being its JSON form.
        problems: the codes it may answer with, apart from those every route may.
        tag: the heading in the OpenAPI document.
    """

    method: str
    template: str
    name: str
    summary: str
    handler: Callable[[Call[PathT, QueryT, BodyT]], Awaitable[Answer]]
    answer: type[BaseModel]
    path: type[PathT]
    query: type[QueryT]
    body: type[BodyT]
    tag: str
    status: int = 200
    scope: Scope | None = Scope.READ
    changes: bool = False
    problems: tuple[ProblemCode, ...] = ()
    streams: bool = False


AnyRoute = Route[Any, Any, Any]
