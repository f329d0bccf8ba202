"""The dashboard's own metrics; labels are bounded: routes are templates, methods a closed list."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Counters and histograms, registered on the registry given."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.requests: Final = Counter(
            "redflag_http_requests",
            "Requests answered.",
            ("method", "route", "code"),
            registry=registry,
        )
        self.duration: Final = Histogram(
            "redflag_http_request_duration_seconds",
            "Time from a request's head to its answer, waiting included.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.auth_failures: Final = Counter(
            "redflag_auth_failures", "Requests without a usable API key.", ("reason",), registry=registry
        )
        self.waiting: Final = Gauge(
            "redflag_http_waiting", "Requests that wait for a command to move.", registry=registry
        )
        self.listening: Final = Gauge(
            "redflag_changes_listening", "1 while the database's notifications arrive.", registry=registry
        )
        Info("redflag_build", "What runs.", registry=registry).info(
            {"program": "dashboard", "version": version}
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = method if method in METHODS else "other"
        self.requests.labels(known, route, str(status)).inc()
        self.duration.labels(known, route).observe(seconds)
