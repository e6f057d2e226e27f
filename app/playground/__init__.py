"""GraphiQL, self-hosted: the page, filled in, and the assets that playground/ builds into dist/."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.playground.operations import OPERATIONS

DIST = Path(__file__).parent / "dist"
PLACEHOLDER = '<script type="application/json" id="playground-config">{}</script>'
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; font-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    # The page holds a token in development.
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def page(endpoint: str, token: str | None) -> Callable[[], Response]:
    """A maker of the page, with the example operations and the token filled in."""
    config: dict[str, Any] = {"endpoint": endpoint, "operations": OPERATIONS}
    if token is not None:
        config["headers"] = {"Authorization": f"Bearer {token}"}
    # Within a script element only "<" could end it.
    text = orjson.dumps(config).decode().replace("<", "\\u003c")
    template = (DIST / "index.html").read_text()
    html = template.replace(PLACEHOLDER, PLACEHOLDER.replace("{}", text))
    return lambda: HTMLResponse(html, headers=HEADERS)


class Assets(StaticFiles):
    """The page's scripts, styles and fonts: their names carry their hashes, so browsers may keep them."""

    def __init__(self) -> None:
        super().__init__(directory=DIST)

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path == "index.html":
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
