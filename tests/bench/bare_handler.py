"""The floor of poll_empty: an aiohttp handler that reads a request and answers given bytes. Run as a process.

Arguments: the port to listen on and a file with the body to answer.
"""

import sys
from pathlib import Path

from aiohttp import web


def main() -> None:
    """Serve until told to stop."""
    port, body = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/agent/v1/commands", answer)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
