"""The routes that probes and Prometheus ask: /livez, /readyz, /ping, /metrics.

The first three need no token, and without one they tell a status and nothing else. `/ping` is what RunPod's load
balancer asks: 204 while the service begins, then 200. `/metrics` needs a token of the scope `read`.
"""

from __future__ import annotations

import json

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from admlops.health.gpu_metrics import GpuMetrics
from admlops.pipeline.health.check import Place
from admlops.pipeline.health.report import MEDIA_TYPE
from admlops.service.context import Part, Service
from admlops.service.health.inference_times import InferenceTimes
from admlops.service.health.metrics import make_registry
from admlops.service.health.readiness import Readiness

PUBLIC = frozenset({"/livez", "/readyz", "/ping"})
NEVER_KEPT = {"cache-control": "no-store"}


def health_part(service: Service) -> Part:
    """Probes and metrics."""
    settings = service.settings
    readiness = Readiness(service.queue, Place(layout=settings.layout), runners=settings.runners)
    times = InferenceTimes(service.queue, settings.layout.runs)
    registry = make_registry(service.queue, GpuMetrics(), times, runners=settings.runners)
    return Part(routes=HealthRoutes(readiness, registry).routes(), public=PUBLIC)


class HealthRoutes:
    """Handlers of the routes."""

    def __init__(self, readiness: Readiness, registry: CollectorRegistry) -> None:
        self._readiness = readiness
        self._registry = registry

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/livez", self.live),
            Route("/readyz", self.ready),
            Route("/ping", self.ping),
            Route("/metrics", self.metrics),
        ]

    async def live(self, _: Request) -> Response:
        """Say that the process answers; it looks at nothing else."""
        return _status("pass", 200)

    async def ready(self, request: Request) -> Response:
        """Say whether the service can do its work; to whoever has a token also why not."""
        report = await self._readiness.report()
        code = 503 if report.status == "fail" else 200
        if request.state.identity is None:
            return _status("fail" if code == 503 else "pass", code)
        return Response(json.dumps(report.to_json()), code, NEVER_KEPT, MEDIA_TYPE)

    async def ping(self, _: Request) -> Response:
        """Answer a load balancer: 204 while the service begins, then 200, or 503 where it cannot work."""
        if not await self._readiness.has_begun():
            return Response(status_code=204, headers=NEVER_KEPT)
        return await self._brief()

    async def _brief(self) -> Response:
        failed = (await self._readiness.report()).status == "fail"
        return _status("fail", 503) if failed else _status("pass", 200)

    async def metrics(self, request: Request) -> Response:
        """Tell all metrics, in the form that is asked for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await run_in_threadpool(encode, self._registry), 200, NEVER_KEPT, media_type)


def _status(status: str, code: int) -> Response:
    return Response(json.dumps({"status": status}), code, NEVER_KEPT, MEDIA_TYPE)
