"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@final
class Metrics:
    """The numbers of one server, each in its own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own: Any = {"registry": self._registry}
        self.answers = Counter(
            "unnoise_requests",
            "requests to generate, by domain and status",
            ["domain", "status"],
            **own,
        )
        self.samples = Counter("unnoise_samples", "samples that were made", ["domain"], **own)
        self.seconds = Histogram(
            "unnoise_request_seconds",
            "seconds from a request to its answer",
            ["domain"],
            buckets=_SECONDS,
            **own,
        )
        self.groups = Histogram(
            "unnoise_group_requests",
            "requests that a worker takes at once",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            **own,
        )
        self.restarts = Counter("unnoise_worker_restarts", "worker processes that ended", **own)
        self._waiting = Gauge("unnoise_queue_requests", "requests that wait", **own)

    def of_queue(self, waiting: Callable[[], int]) -> None:
        """What tells the length of the queue."""
        self._waiting.set_function(lambda: float(waiting()))

    def text(self) -> bytes:
        """In the text format."""
        return generate_latest(self._registry)
