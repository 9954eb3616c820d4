"""The routes of the gateway, and what every one of them has: limits, metrics, CORS, JSON errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from haulout.client.documents import network_info
from haulout.client.network import Network
from haulout.errors import HauloutError, NotFound
from haulout.gateway.aggregator import Aggregator
from haulout.gateway.errors import (
    MethodNotAllowed,
    NotKnownYet,
    RouteNotFound,
    error_response,
    internal_error_response,
)
from haulout.gateway.limits import LoadLimit
from haulout.gateway.metrics import GatewayMetrics, size_class
from haulout.gateway.publisher import Publisher
from haulout.gateway.uploads import Uploads
from haulout.observability import tracing
from haulout.observability.logs import get_logger
from haulout.ports import Ledger

READS_SERVED, READS_ADMITTED = 256, 320
WRITES_SERVED, WRITES_ADMITTED = 8, 16
EXPOSED_HEADERS = ("Content-Range", "ETag", "Accept-Ranges", "Content-Length", "Location", "X-Quilt-Patch-Identifier")

log = get_logger("gateway")

Handler = Callable[[Request], Awaitable[Response]]


def build_app(
    network: Network,
    aggregator: Aggregator,
    publisher: Publisher,
    metrics: GatewayMetrics,
    *,
    ledger: Ledger,
    why_not_ready: Callable[[], Sequence[str]],
) -> Starlette:
    """The application; both roles on one port, as Walrus's daemon."""
    reads = LoadLimit("aggregator", served=READS_SERVED, admitted=READS_ADMITTED)
    writes = LoadLimit("publisher", served=WRITES_SERVED, admitted=WRITES_ADMITTED)

    def limited(limit: LoadLimit, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return await limit.serve(lambda: handler(request))

        return handle

    def measured(route: str, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            started = time.perf_counter()
            try:
                response = await handler(request)
            except HauloutError as e:
                response = error_response(_of_a_view_behind(e, why_not_ready()))
            except Exception as e:  # noqa: BLE001 - the edge: everything else is our mistake and becomes a 500
                response = internal_error_response(request, e)
            duration_s = time.perf_counter() - started
            metrics.duration.labels(route, size_class(request)).observe(duration_s, tracing.exemplar())
            if tracing.is_on():
                duration_us = round(duration_s * 1e6)
                log.debug("request answered", route=route, status=response.status_code, duration_us=duration_us)
            metrics.requests.labels(route, request.method, str(response.status_code)).inc()
            return response

        return handle

    async def info(_: Request) -> Response:
        return JSONResponse(await network_info(network.view, ledger), headers={"cache-control": "no-store"})

    async def alive(_: Request) -> Response:
        return PlainTextResponse("OK", headers={"cache-control": "no-store"})

    async def ready(_: Request) -> Response:
        reasons = list(why_not_ready())
        return JSONResponse({"ok": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def not_found(request: Request, error: Exception) -> Response:
        metrics.requests.labels("other", "", "404").inc()
        return error_response(RouteNotFound(path=request.url.path))

    async def not_allowed(request: Request, error: Exception) -> Response:
        metrics.requests.labels("other", "", "405").inc()
        allowed = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        refusal = MethodNotAllowed(method=request.method, path=request.url.path, allowed=allowed or "another method")
        return error_response(refusal, headers={"allow": allowed})

    uploads = Uploads(network, publisher)
    read, write = ["GET", "HEAD"], ["PUT", "POST"]
    app = Starlette(
        routes=[
            Route("/status", alive),
            Route("/ready", ready),
            Route("/v1/info", measured("info", info)),
            Route("/v1/blobs", measured("store", limited(writes, publisher.put)), methods=write),
            Route("/v1/uploads", measured("upload", uploads.create), methods=["POST"]),
            Route("/v1/uploads/{upload_id}", measured("store", limited(writes, uploads.put)), methods=["PUT"]),
            Route("/v1/uploads/{upload_id}", measured("upload", uploads.show)),
            Route(
                "/v1/blobs/by-object-id/{object_id}",
                measured("object", limited(reads, aggregator.get_by_object)),
                methods=read,
            ),
            Route("/v1/blobs/{blob_id}/status", measured("status", aggregator.status)),
            Route("/v1/blobs/{blob_id}", measured("blob", limited(reads, aggregator.get)), methods=read),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=EXPOSED_HEADERS,
                max_age=86_400,
            )
        ],
        exception_handlers={404: not_found, 405: not_allowed},
    )
    app.router.redirect_slashes = False  # a path with a slash too many is not there, as any other
    return app


def _of_a_view_behind(error: HauloutError, reasons: Sequence[str]) -> HauloutError:
    """That something does not exist is said only by a view that has caught up with the ledger."""
    return NotKnownYet(reason=reasons[0]) if reasons and isinstance(error, NotFound) else error
