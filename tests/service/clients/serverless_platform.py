"""The worker's side of RunPod's serverless on the loopback: jobs are handed out, results, parts and pings come back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

POLL_S = 1.0


@dataclass
class Platform:
    """`jobs` wait to be taken; what comes back lies in `done`, `updates` and `parts` by the job's id."""

    key: str
    url: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    updates: dict[str, list[Any]] = field(default_factory=dict)
    parts: dict[str, list[Any]] = field(default_factory=dict)
    pings: int = 0
    refused: int = 0

    def variables(self) -> dict[str, str]:
        """Return what RunPod sets in a worker's environment."""
        base = f"{self.url}/v2/e"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": self.key,
            "RUNPOD_POD_ID": "pod-1",
            "RUNPOD_ENDPOINT_ID": "e",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def wait(self, job: str, seconds: float = 180) -> dict[str, Any]:
        """Return a job's result."""
        deadline = time.monotonic() + seconds
        while job not in self.done:
            assert time.monotonic() < deadline, "no result came"
            time.sleep(0.1)
        return self.done[job]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        platform: Platform = self.server.platform
        if self.headers.get("authorization", "").removeprefix("Bearer ") != platform.key:
            platform.refused += 1
            return self._answer(401)
        kind = urlsplit(self.path).path.split("/")[3]
        if kind == "ping":
            platform.pings += 1
            return self._answer(200, {})
        deadline = time.monotonic() + POLL_S
        while time.monotonic() < deadline:
            if kind.startswith("job-take") and platform.jobs:
                job = platform.jobs.pop(0)
                platform.taken.append(job["id"])
                return self._answer(200, [job] if kind == "job-take-batch" else job)
            if kind == "job-stop" and platform.stops:
                return self._answer(200, {"jobsToStop": list(platform.stops)})
            time.sleep(0.02)
        return self._answer(204)

    def do_POST(self) -> None:
        platform: Platform = self.server.platform
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        parts = urlsplit(self.path).path.split("/")
        kind, job = parts[3], parts[5]
        if kind == "job-stream":
            platform.parts.setdefault(job, []).append(body["output"])
        elif body.get("status") == "IN_PROGRESS":
            platform.updates.setdefault(job, []).append(body["output"])
        else:
            platform.done[job] = body
            platform.stops = [one for one in platform.stops if one != job]
        self._answer(200, {})

    def _answer(self, status: int, body: Any = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    platform: Platform


@contextmanager
def platform() -> Iterator[Platform]:
    """Run the platform while the block does."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.platform = Platform(key="a-key-of-the-platform", url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.platform
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
