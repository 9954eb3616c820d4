"""HTTP requests as traces: where most of them begin."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haulout.observability import tracing

EVENTS = b"text/event-stream"


class TraceRequests:
    """Wraps an application: each request is a span, until its last byte is sent. One that is answered with events, for
    hours perhaps, is over when they begin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not tracing.is_on():
            await self._app(scope, receive, send)
            return
        with tracing.serve(scope["method"], _headers(scope), begins=True) as span:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.rename(*_describe(scope, message["status"]))
                    if any(name == b"content-type" and EVENTS in value for name, value in message.get("headers", ())):
                        span.end()
                await send(message)

            await self._app(scope, receive, answer)


def _headers(scope: Scope) -> Iterator[tuple[str, str]]:
    for name, value in scope["headers"]:
        yield name.decode("latin-1"), value.decode("latin-1")


def _describe(scope: Scope, status: int) -> tuple[str, tracing.Attributes]:
    """Name and attributes by OpenTelemetry's conventions, once the route is known: a name has no ids in it."""
    method, route = scope["method"], scope["path"]
    for name, value in scope.get("path_params", {}).items():
        route = route.replace(str(value), f"{{{name}}}")
    attributes: dict[str, str | int | bool] = {"http.request.method": method, "http.response.status_code": status}
    if "endpoint" not in scope:
        return method, attributes
    return f"{method} {route}", {**attributes, "http.route": route}
