"""The ASGI application: `/graphql`, `/status`, and JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graphql_api.context import Services
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.reading import ReadModel
from graphql_api.schema import schema
from graphql_api.view import View
from haulout.ports import Clock, Rng

LAG_MS_MAX = 2_000


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
    view = View(schema, services, read_model, follower, clock=clock, rng=rng, registry=registry)

    async def status(_: Request) -> Response:
        progress = follower.progress
        document = {
            "version": services.version,
            "height": progress.height,
            "sequence": progress.sequence,
            "epoch": progress.epoch,
            "lagMs": follower.lag_ms(),
            "problem": follower.problem.code if follower.problem else None,
            "stopped": follower.stopped.code if follower.stopped else None,
        }
        return JSONResponse(document, headers={"cache-control": "no-store"})

    async def refuse(_: Request, error: Exception) -> Response:
        known = isinstance(error, HTTPException)
        http = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(
            http, "INTERNAL" if http >= 500 else "INVALID_ARGUMENT"
        )
        message = "the API is at POST /graphql" if http == 404 else str(getattr(error, "detail", "")) if known else ""
        errors = [{"message": message or "Internal error.", "extensions": {"code": code, "http": http}}]
        return JSONResponse({"errors": errors}, http)

    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["POST", "OPTIONS"],
        allow_headers=["content-type", "traceparent", "x-min-sequence"],
        max_age=3600,
    )
    return Starlette(
        routes=[Route("/graphql", view), Route("/status", status)],
        middleware=[cors],
        exception_handlers={HTTPException: refuse, 500: refuse},
    )


def why_not_ready(follower: Follower) -> list[str]:
    """Reasons why answers would mislead: the first read is under way, or following has ended."""
    reasons = []
    if follower.stopped is not None:
        reasons.append(f"{follower.stopped.code}: {follower.stopped}")
    elif not follower.is_live:
        reasons.append(f"SYNCING: reading the ledger's history, now at block {follower.progress.height}")
    return reasons
