"""Plain Python, with Starlette and uvicorn (extra `play`). Serves the page, and its session over a WebSocket.

Only this machine can connect, and only who has the address with its token: every request is checked for the token,
and for a `Host` and an `Origin` that are this server's, so that no other page in the same browser can reach it.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import webbrowser
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from bellmax.arguments import describe, integer
from bellmax.contracts import ConfigError
from bellmax.playground.edited_grid import Grid

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from bellmax.playground.live_pages import Desk

ADDRESS = "127.0.0.1"
MOST_PAGES = 4  # open at the same time, each with a thread
LONGEST_MESSAGE = 64_000  # bytes
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
REMEDY = "the playground needs Starlette, uvicorn and websockets: pip install 'bellmax[play]'"
NOT_YOURS = "This address does not belong to the page. Open the one that bellmax play printed."


def page_files() -> dict[str, tuple[bytes, str]]:
    """The files of the page, content and type by name; nothing else is ever served."""
    folder = resources.files("bellmax.playground").joinpath("assets")
    found = {each.name: each for each in folder.iterdir() if each.is_file()}
    return {
        name: (each.read_bytes(), TYPES[name[name.rindex(".") :]])
        for name, each in found.items()
        if name[name.rindex(".") :] in TYPES
    }


def security_headers(port: int) -> dict[str, str]:
    """The headers of each answer: no scripts or requests but the page's own, and no framing."""
    own = f"ws://{ADDRESS}:{port} ws://localhost:{port}"
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' "
            f"{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def may_connect(connection: HTTPConnection, token: str, port: int) -> bool:
    """Whether a request has the token, comes by this server's own name, and from no other page."""
    names = [f"{name}:{port}" for name in (ADDRESS, "localhost")]
    given = connection.path_params.get("token", "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        return False
    if connection.headers.get("host") not in names:
        return False
    origin = connection.headers.get("origin")
    if origin is None:
        return bool(connection.scope["type"] == "http")  # browsers send it with every WebSocket
    return str(origin) in [f"http://{name}" for name in names]


def make_app(grid: Grid, token: str, port: int, desks: list[Desk]) -> Starlette:
    """The application: the files of the page below `/TOKEN/`, and the WebSocket `/TOKEN/live`.

    `desks` are those of the pages so far whose threads have not ended; the caller may wait for them.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route, WebSocketRoute

    from bellmax.playground.live_pages import talk

    files, headers = page_files(), security_headers(port)

    async def page(request: Request) -> Response:
        if not may_connect(request, token, port):
            return PlainTextResponse(NOT_YOURS, 403, headers)
        name = request.path_params.get("name", "")
        if name not in files and name:
            return PlainTextResponse("This page does not have such a file.", 404, headers)
        content, kind = files[name or "index.html"]
        return Response(content, media_type=kind, headers=headers)

    async def bare(request: Request) -> Response:
        if not may_connect(request, token, port):
            return PlainTextResponse(NOT_YOURS, 403, headers)
        return RedirectResponse(f"/{token}/", headers=headers)

    async def live(socket: WebSocket) -> None:
        if not may_connect(socket, token, port):
            await socket.close(4403)
            return
        await talk(socket, grid, desks, MOST_PAGES)

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return PlainTextResponse(NOT_YOURS, 403 if status == 404 else status, headers)

    return Starlette(
        routes=[
            WebSocketRoute("/{token}/live", live),
            Route("/{token}", bare),
            Route("/{token}/{name:path}", page),
        ],
        exception_handlers={HTTPException: refuse},
    )


def bind(port: int) -> socket.socket:
    """A socket that listens on this machine only; port 0 chooses a free one.

    Raises:
        ConfigError: the port is in use, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot serve on port {port}: {error.strerror}; choose another --port, or leave it out for a free one"
        ) from error
    return listening


def serve_playground(grid: Grid, *, port: int = 0, browser: bool = True, say: Callable[[str], None] = print) -> None:
    """Serve the page on this machine until Ctrl-C; `say` is given its address, and `browser` opens it.

    Raises:
        ConfigError: the extra `play` is not installed, or the port cannot be used.
    """
    port = integer("port", port, 0, 65_535)
    if not isinstance(grid, Grid):
        raise ConfigError(f"`grid` must be a Grid; got {describe(grid)}")
    try:
        import starlette  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise ConfigError(REMEDY) from error
    listening, token = bind(port), secrets.token_urlsafe(16)
    port = listening.getsockname()[1]
    address = f"http://{ADDRESS}:{port}/{token}/"
    desks: list[Desk] = []
    config = uvicorn.Config(
        make_app(grid, token, port, desks), log_config=None, access_log=False, lifespan="off", server_header=False,
        ws_max_size=LONGEST_MESSAGE, ws_per_message_deflate=False, ws_max_queue=16, limit_concurrency=64,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    say(address)
    if browser:
        webbrowser.open(address)
    try:
        uvicorn.Server(config).run(sockets=[listening])
        for desk in desks:  # a thread that compiles while Python ends would abort the process
            desk.thread.join()
    except KeyboardInterrupt:  # the way to stop it, after an orderly end
        pass
    finally:
        listening.close()
