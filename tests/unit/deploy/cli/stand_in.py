"""A server that answers what a test says, in a thread of its own, and the command line in this process."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

Handler = Callable[[web.Request], web.StreamResponse]


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class StandIn:
    """Answers `METHOD /path` with what is queued for it; the last answer stays."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[Handler]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def answer(self, where: str, body: Any, status: int = 200, **headers: str) -> None:
        """Queue an answer."""

        def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(
                status=status, body=json.dumps(body), content_type="application/json", headers=headers
            )

        self.answers.setdefault(where, []).append(handler)

    def problem(self, where: str, status: int, code: str, detail: str = "it is so", **extra: Any) -> None:
        self.answer(where, {"status": status, "code": code, "detail": detail, **extra}, status)

    def host(self, name: str, **columns: Any) -> None:
        """Queue a host that never told how it is doing."""
        self.answer(f"GET /hosts/{name}", a_host(**columns))
        self.problem(f"GET /hosts/{HOST_ID}/system", 404, "no_figures")

    def page(self, where: str, *items: Any, **more: Any) -> None:
        self.answer(where, {"items": list(items), "next": None, "total": len(items), **more})

    def bodies(self, where: str) -> list[Any]:
        """What was sent to `METHOD /path`."""
        return [one.body for one in self.asked if f"{one.method} {one.path}" == where]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v1")
        text = await request.text()
        self.asked.append(
            Asked(
                request.method,
                path,
                dict(request.query),
                json.loads(text) if text else None,
                dict(request.headers),
            )
        )
        queue = self.answers.get(f"{request.method} {path}")
        if not queue:
            return web.Response(status=404, text='{"code": "not_found", "detail": "no answer was queued"}')
        return (queue.pop(0) if len(queue) > 1 else queue[0])(request)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


AT = "2026-03-01T12:00:00Z"
HOST_ID = "0198f000-0000-7000-8000-000000000001"
COMMAND_ID = "0198f000-0000-7000-8000-0000000000c1"
DIGEST = "sha256:" + "ab" * 32


def a_host(**columns: Any) -> dict[str, Any]:
    return {
        "id": HOST_ID, "hostname": "web-04", "state": "active", "os_name": "Debian GNU/Linux",
        "os_version": "12", "arch": "amd64", "kernel": "6.1", "agent_version": "0.1.0",
        "update_available": False, "below_minimum": False, "groups": [], "parent_id": None, "parent": None,
        "capabilities": [{"manager": "apt", "can_install": False, "reason": "not root"}],
        "tags": {"env": "test"}, "reboot_required": True, "created_at": AT, "last_seen_at": AT,
        "inventory_at": AT, "inventory_source_age_s": 7200,
        "updates": {"available": 3, "security": 1, "approved": 0}, "pending_commands": 0, "fast_until": None,
        "fast_until_stopped": False, **columns,
    }  # fmt: skip


def an_update(name: str = "alpha", **columns: Any) -> dict[str, Any]:
    return {
        "host_id": HOST_ID, "hostname": "web-04", "manager": "apt", "name": name, "arch": "amd64",
        "installed": "1.0", "candidate": "2.0", "security": False, "availability": "available",
        "state": "pending", **columns,
    }  # fmt: skip


def a_command(state: str = "requested", kind: str = "scan", **columns: Any) -> dict[str, Any]:
    ended = state in ("succeeded", "failed", "cancelled", "expired", "rejected", "parked", "unknown")
    return {
        "id": COMMAND_ID, "op": None, "host_id": HOST_ID, "hostname": "web-04", "kind": kind,
        "params": {"subsystem": "all"}, "state": state, "ended": ended, "result": None, "code": None,
        "error": None, "summary": None, "requested_by": "admin", "requested_at": AT, "expires_at": AT,
        "plan_digest": None, "exit_code": None, "duration_ms": None, "digest": None, "events": [],
        "stdout": None, "stderr": None, "envelope": None, **columns,
    }  # fmt: skip


def a_change(name: str, action: str = "upgrade", *, asked: bool = True) -> dict[str, Any]:
    return {
        "name": name, "arch": "amd64", "old": "1.0", "new": None if action == "remove" else "2.0",
        "origin": "Debian", "action": action, "asked": asked,
    }  # fmt: skip


def a_plan_entry(**columns: Any) -> dict[str, Any]:
    return {
        "digest": DIGEST, "host_id": HOST_ID, "hostname": "web-04", "manager": "apt", "newest": True,
        "needs_confirmation": False, "confirmed_at": None, "confirmed_by": None, "created_at": AT, **columns,
    }  # fmt: skip


def a_plan(*items: dict[str, Any], entry: dict[str, Any] | None = None, **columns: Any) -> dict[str, Any]:
    request = [{"name": one["name"], "arch": "amd64", "version": "2.0"} for one in items if one["asked"]]
    return {
        "digest": DIGEST, "manager": "apt", "request": request, "items": list(items),
        "hosts": [entry or a_plan_entry()], "last_install": None, **columns,
    }  # fmt: skip
