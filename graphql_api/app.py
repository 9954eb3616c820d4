"""The ASGI application: `/graphql`, its schema, its pages, `/status`, and JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphql_api.context import Services
from graphql_api.errors import extensions_of
from graphql_api.pages import PageOrApi, page_routes
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.reading import ReadModel
from graphql_api.schema import schema
from graphql_api.view import TRACE, View
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Rng

log = get_logger("app")

# Answers are data: a browser that is made to show one as a page runs nothing of it and lets nobody frame it.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class SecurityHeaders:
    """Puts `SECURITY_HEADERS` on every answer that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def build_app(
    services: Services,
    read_model: ReadModel,
    follower: Follower,
    *,
    clock: Clock,
    rng: Rng,
    registry: CollectorRegistry,
    origins: Sequence[str] = ("*",),
) -> Starlette:
    """The application. Reads are public and carry no cookies, so any `origins` may ask by default."""
    sdl_text = resources.files("graphql_api").joinpath("schema.graphql").read_text()
    view = View(schema, services, read_model, follower, clock=clock, rng=rng, registry=registry)

    async def status(_: Request) -> Response:
        progress = follower.progress
        document = {
            "version": services.version,
            "height": progress.height,
            "sequence": progress.sequence,
            "epoch": progress.epoch,
            "attestedHeight": services.finality.attested_height,
            "ledgerSilentMs": services.finality.silence_ms(),
            "lagMs": follower.lag_ms(),
            "problem": follower.problem.code if follower.problem else None,
            "stopped": follower.stopped.code if follower.stopped else None,
        }
        return JSONResponse(document, headers={"cache-control": "no-store"})

    async def document(_: Request) -> Response:
        return PlainTextResponse(sdl_text, headers={"cache-control": "max-age=300"})

    async def refuse(request: Request, error: Exception) -> Response:
        known = isinstance(error, HTTPException)
        http = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(
            http, "INTERNAL" if http >= 500 else "INVALID_ARGUMENT"
        )
        message = "the API is at POST /graphql" if http == 404 else str(getattr(error, "detail", "")) if known else ""
        trace_id = request.scope.get(TRACE) or rng.random_bytes(16).hex()
        if not known:
            log.error("a request failed", trace_id=trace_id, path=request.url.path, exc_info=error)
        extensions = {**extensions_of(code, trace_id), "http": http}
        errors = [{"message": message or "Internal error.", "extensions": extensions}]
        return JSONResponse({"errors": errors}, http)

    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "OPTIONS"],
        allow_headers=["authorization", "content-type", "traceparent", "x-min-sequence"],
        expose_headers=["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"],
        max_age=3600,
    )
    app = Starlette(
        routes=[
            Route("/graphql", PageOrApi(view)),
            WebSocketRoute("/graphql", view),
            Route("/graphql/schema.graphql", document),
            Route("/status", status),
            *page_routes(services.gateway),
        ],
        middleware=[Middleware(SecurityHeaders), cors],
        exception_handlers={HTTPException: refuse, 500: refuse},
    )
    app.state.streams = view.streams
    return app


def why_not_ready(follower: Follower) -> list[str]:
    """Reasons why answers would mislead: the first read is under way, or following has ended."""
    reasons = []
    if follower.stopped is not None:
        reasons.append(f"{follower.stopped.code}: {follower.stopped}")
    elif not follower.is_live:
        reasons.append(f"SYNCING: reading the ledger's history, now at block {follower.progress.height}")
    return reasons
