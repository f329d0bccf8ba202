"""Who asks: the API key of the request (docs/protocol.md 8.6).

A missing, malformed, wrong or revoked key all get the same answer. The key is looked up by its hash on every
request, so a revocation holds at once; when it was last used is noted once a minute.
"""

from typing import Final

from aiohttp import hdrs, web

from redflag_dashboard.parts import Parts
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Principal, Scope, grants
from redflag_store.queries.api_keys import find_api_key, touch_api_key

_HEADER_MAX: Final = 512  # characters


def _refused(parts: Parts, reason: str) -> ProblemError:
    parts.metrics.auth_failures.labels(reason).inc()
    return ProblemError(
        ProblemCode.UNAUTHENTICATED,
        "send Authorization: Bearer and an API key that is in force",
        headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
    )


async def authenticate(request: web.Request, parts: Parts) -> Principal:
    """The owner of the request's API key.

    Raises:
        ProblemError: `unauthenticated`.
    """
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(values) != 1 or len(values[0]) > _HEADER_MAX:
        raise _refused(parts, "missing" if not values else "malformed")
    scheme, _, text = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise _refused(parts, "malformed")
    async with parts.sessions() as session:
        key = await find_api_key(session, text.strip())
        if key is None:
            raise _refused(parts, "unknown")
        if await touch_api_key(session, key, parts.clock.now()):
            await session.commit()
    return Principal(key_id=key.id, name=key.name, scopes=key.scopes)


def authorise(who: Principal, needed: Scope) -> None:
    """Check that the key may do this.

    Raises:
        ProblemError: `scope_missing`.
    """
    if not grants(who.scopes, needed):
        raise ProblemError(
            ProblemCode.SCOPE_MISSING,
            f"this needs a key with the scope {needed}",
            extra={"scope": str(needed)},
        )
