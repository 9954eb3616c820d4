"""What the gateway counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from haulout.observability.metrics import LATENCY_BUCKETS_S

ROUTES = ("blob", "object", "store", "status", "info", "other")


class GatewayMetrics:
    """Requests by route, and the bytes that are on their way."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "haulout_http_requests_total", "Requests answered.", ["route", "method", "code"], registry=registry
        )
        self.duration = Histogram(
            "haulout_http_request_duration_seconds",
            "From the request's head to the response's head.",
            ["route"],
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
            self.duration.labels(route)
        for result in ("hit", "miss"):
            self.cache.labels(result)
