"""What the gateway counts, and how large it calls what it serves."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from haulout.observability.metrics import LATENCY_BUCKETS_S

ROUTES_OF_CONTENT = ("blob", "object", "store")
ROUTES = (*ROUTES_OF_CONTENT, "upload", "status", "info", "other")
NO_CONTENT = "none"
SIZE_CLASSES = {"64KiB": 1 << 16, "1MiB": 1 << 20, "16MiB": 1 << 24, "256MiB": 1 << 28}  # and the largest size of each
LARGER = "larger"


class GatewayMetrics:
    """Requests by route, and the bytes that are on their way."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "haulout_http_requests_total", "Requests answered.", ["route", "method", "code"], registry=registry
        )
        self.duration = Histogram(
            "haulout_http_request_duration_seconds",
            "From the request's head to the response's head, by the size up to which content was taken in or is sent.",
            ["route", "size_class"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.inflight_bytes = Gauge(
            "haulout_http_inflight_bytes", "Bytes of blobs that are being taken in or sent.", registry=registry
        )
        self.cache = Counter(
            "haulout_cache_requests_total", "Reads by whether the blob was cached.", ["result"], registry=registry
        )
        self.balance_frost = Gauge(
            "haulout_publisher_balance_frost", "What the account that pays for stores still has.", registry=registry
        )
        for route, method in (("blob", "GET"), ("object", "GET"), ("store", "PUT")):
            for code in ("200", "500", "503"):  # so that a share of errors is 0 before the first, and not nothing
                self.requests.labels(route, method, code)
        for route in ROUTES:
            self.duration.labels(route, NO_CONTENT)
        for route in ROUTES_OF_CONTENT:
            for name in (*SIZE_CLASSES, LARGER):
                self.duration.labels(route, name)
        for result in ("hit", "miss"):
            self.cache.labels(result)


def note_content(request: Request, size_bytes: int) -> None:
    """Remember with a request how many bytes of a blob it has brought, or is answered with."""
    request.state.content_bytes = size_bytes


def size_class(request: Request) -> str:
    """What a request is counted under: the smallest class that its content fits into; of an error often none."""
    size_bytes = getattr(request.state, "content_bytes", None)
    if size_bytes is None:
        return NO_CONTENT
    return next((name for name, largest in SIZE_CLASSES.items() if size_bytes <= largest), LARGER)
