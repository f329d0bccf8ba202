"""How a declared route answers a request: key, scope, shape, work, answer; in this order.

The order is the safe one: nobody without a key learns what a request should look like, and the body is not read
before the key is known. A route with `changes` has one transaction around its handler, and the answer is sent
after the commit: what was answered is stored.
"""

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from redflag_dashboard.parts import Parts
from redflag_dashboard.rest import binding, idempotency, json_text
from redflag_dashboard.rest.auth import authenticate, authorise
from redflag_dashboard.rest.context import correlation_id
from redflag_dashboard.rest.route import Answer, AnyRoute, Call


def handler_of(route: AnyRoute, parts: Parts) -> Handler:
    """The aiohttp handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        who = None
        if route.scope is not None:
            who = await authenticate(request, parts)
            authorise(who, route.scope)
        path: BaseModel = binding.bind_path(request, route.path)
        query: BaseModel = binding.bind_query(request, route.query)
        data = await binding.read_body(request, route.body)
        call: Call[Any, Any, Any] = Call(
            path=path,
            query=query,
            body=binding.bind_body(data, route.body),
            who=who,
            op=correlation_id(request),
            parts=parts,
        )
        if route.changes:
            return await _change(request, route, call, data)
        answer = await route.handler(call)
        return _respond(answer) if answer.stream is None else await answer.stream.send(request, call)

    return handle


async def _change(
    request: web.Request, route: AnyRoute, call: Call[Any, Any, Any], data: bytes
) -> web.StreamResponse:
    key = idempotency.key_of(request)
    async with call.parts.sessions() as session:
        inside = call.within(session)
        answer: Answer | None
        stored: web.Response | None = None
        if key is None:
            answer = await route.handler(inside)
        else:
            digest = idempotency.request_digest(request, data)
            answer, stored = await idempotency.answer_once(inside, route, key, digest)
        await session.commit()
    if answer is None:
        if stored is None:
            raise RuntimeError("neither an answer nor a stored one")
        return stored
    return _respond(answer)


def _respond(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=json_text.encode(answer.body),
        content_type=json_text.CONTENT_TYPE,
        headers=answer.headers,
    )
