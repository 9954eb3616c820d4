"""Pages for people: the playground at `GET /graphql` and the console at `/console/`.

Both are one bundle, built by Vite from `console/` in the repository (`make console`) and committed in
`graphql_api/console`. It asks nobody but the process that it came from, and the policy below has the browser see to it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.gateway import Gateway
from graphql_api.relay import UploadRelay

BUNDLE = Path(str(resources.files("graphql_api").joinpath("console")))

# Scripts, workers and requests of our own only, and no eval. The editor writes its styles into the page, and its fonts
# and pictures are data: these may.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FOR_EVER = "public, max-age=31536000, immutable"  # names of assets carry the hash of their content


class PageOrApi:
    """The playground for a browser that opens the API's address, the API for everybody else."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = _page() if _wants_page(scope) else self._api
        await app(scope, receive, send)


class Assets(StaticFiles):
    """What a page loads."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = FOR_EVER
        return response


def page_routes(gateway: Gateway) -> list[BaseRoute]:
    """Routes of the console and of what both pages load."""

    async def console(_: object) -> Response:
        return _page()

    async def home(_: object) -> Response:
        return RedirectResponse("/console/")

    return [
        Route("/", home),
        Route("/console/", console),
        Route("/console/icon.svg", lambda _: FileResponse(BUNDLE / "icon.svg")),
        Mount("/console/assets", Assets(directory=BUNDLE / "assets")),
        Route("/console/uploads/{upload_id}", UploadRelay(gateway).put, methods=["PUT"]),
    ]


def _page() -> Response:
    return FileResponse(BUNDLE / "index.html", headers={"content-security-policy": POLICY, "cache-control": "no-cache"})


def _wants_page(scope: Scope) -> bool:
    """Whether a person has typed the address; a request that names a document is the API's, whatever it accepts."""
    if scope["method"] not in ("GET", "HEAD"):
        return False
    accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    asked = QueryParams(scope["query_string"])
    return "text/html" in accept and set(asked) <= {"tour"}
