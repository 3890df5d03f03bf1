"""Counts and times for Prometheus, of one server."""

import time
from collections.abc import Callable, Set
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """What is counted; nothing in it names a client or what it sent."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self._registry, "namespace": "ganaudit"}
        self.requests = Counter("requests", "Requests answered", ["endpoint", "status"], **of)
        self.seconds = Histogram("request_seconds", "Time of a request", ["endpoint"], **of)
        self.closed = Counter("closed_connections", "Connections given up", ["reason"], **of)
        self.images = Counter("images", "Images rendered", **of)
        self.failed = Counter("failed_batches", "Batches that the generator did not render", **of)
        self.batches = Histogram("batch_images", "Images of a batch", buckets=_SIZES, **of)
        self.rendering = Histogram("render_seconds", "Time of a batch", **of)
        self._waiting = Gauge("waiting_images", "Images that wait to be rendered", **of)
        self._connections = Gauge("connections", "Open connections", **of)

    def watch(self, *, waiting: Callable[[], int], connections: Callable[[], int]) -> None:
        """Where to look for what is not counted, when somebody asks."""
        self._waiting.set_function(waiting)
        self._connections.set_function(connections)

    def rendered(self, images: int, seconds: float) -> None:
        """A batch was."""
        self.images.inc(images)
        self.batches.observe(images)
        self.rendering.observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


class Counted:
    """Counts and times the requests of an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Set[str]) -> None:
        """`endpoints`: the paths that there are; what is asked elsewhere is counted as "other"."""
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        begin = time.perf_counter()
        endpoint = scope["path"] if scope["path"] in self._endpoints else "other"

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(endpoint, message["status"]).inc()
                self._metrics.seconds.labels(endpoint).observe(time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, counting)
