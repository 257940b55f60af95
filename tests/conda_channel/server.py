"""A web server on the loopback interface that serves a folder, keeps a log, and misbehaves when told to."""

from __future__ import annotations

import email.utils
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

LOGIN_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in to the network</title></head><body>Welcome</body></html>\n"
CHUNK_BYTES = 1 << 16
WAIT_FOR_ANSWERS_S = 20.0
Mode = Literal["truncated", "corrupt", "cut", "stalled", "slow", "status", "html", "redirect"]


@dataclass(kw_only=True)
class Fault:
    """How requests whose path holds `path` go wrong, the first `times` times each path is asked for.

    truncated: only the first `after_bytes`, announced as if they were all; corrupt: one byte in the middle differs;
    cut: the connection ends after `after_bytes`; stalled: nothing comes after `after_bytes`; slow:
    `bytes_per_second`; status: an answer without a body, with `retry_after` if given; html: a login page instead of
    the file; redirect: to a login page.
    """

    path: str
    mode: Mode
    times: int = 1_000_000
    after_bytes: int = 5_000
    status: int = 503
    retry_after: str | None = None
    bytes_per_second: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """One answered request: the path, the first byte that was asked for, what was sent, and when it came."""

    path: str
    first_byte: int
    status: int
    sent_bytes: int
    fault: Mode | None
    at_s: float


@dataclass
class _Shared:
    """What all of a server's connections see."""

    root: Path
    faults: list[Fault] = field(default_factory=list)
    used: dict[tuple[int, str], int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Condition = field(default_factory=threading.Condition)
    answering: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def fault_for(self, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                key = (id(fault), path)
                if fault.path in path and self.used.get(key, 0) < fault.times:
                    self.used[key] = self.used.get(key, 0) + 1
                    return fault
        return None


class FaultServer:
    """Serves `root` at `url` until it is closed; use as a context manager."""

    def __init__(self, root: Path) -> None:
        self._shared = _Shared(root)
        handler = type("Handler", (_Handler,), {"shared": self._shared})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="conda channel", daemon=True)

    def __enter__(self) -> FaultServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.ended.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def faults(self, *faults: Fault) -> Iterator[None]:
        """Misbehave so while the block runs; the log starts anew."""
        self.clear_log()
        with self._shared.lock:
            self._shared.faults, self._shared.used = list(faults), {}
        try:
            yield
        finally:
            with self._shared.lock:
                self._shared.faults = []

    def log(self) -> list[Request]:
        """The requests that were answered, in the order in which their answers ended."""
        with self._shared.lock:
            self._wait_for_answers()
            return list(self._shared.requests)

    def clear_log(self) -> None:
        with self._shared.lock:
            self._wait_for_answers()
            self._shared.requests.clear()

    def _wait_for_answers(self) -> None:
        """A client has its file before the server's thread has written down that it was sent."""
        self._shared.lock.wait_for(lambda: not self._shared.answering, timeout=WAIT_FOR_ANSWERS_S)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shared: _Shared

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing on standard error; the log is kept in memory."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self._sent, self._first, self._status = 0, 0, 0
        came_at_s = time.monotonic()
        with self.shared.lock:
            self.shared.answering += 1
        path = self.path.split("?")[0]
        fault = self.shared.fault_for(path)
        try:
            if path == "/login":
                self._send_whole(200, LOGIN_PAGE, "text/html", body=body)
            elif fault is not None and fault.mode in ("status", "html", "redirect"):
                self._refuse(fault, body=body)
            else:
                self._serve(self.shared.root / path.lstrip("/"), fault, body=body)
        except ConnectionError:
            self.close_connection = True
        finally:
            request = Request(
                path=path,
                first_byte=self._first,
                status=self._status,
                sent_bytes=self._sent,
                fault=None if fault is None else fault.mode,
                at_s=came_at_s,
            )
            with self.shared.lock:
                self.shared.requests.append(request)
                self.shared.answering -= 1
                self.shared.lock.notify_all()

    def _refuse(self, fault: Fault, *, body: bool) -> None:
        if fault.mode == "html":
            self._send_whole(200, LOGIN_PAGE, "text/html", body=body)
        elif fault.mode == "redirect":
            self._begin(302, 0, {"Location": "/login"})
        else:
            self._begin(fault.status, 0, {} if fault.retry_after is None else {"Retry-After": fault.retry_after})

    def _serve(self, file: Path, fault: Fault | None, *, body: bool) -> None:
        if not file.is_file():
            self._begin(404, 0, {})
            return
        content = file.read_bytes()
        headers = {
            "ETag": f'"{file.stat().st_mtime_ns:x}"',
            "Last-Modified": email.utils.formatdate(file.stat().st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if self.headers.get("If-None-Match") == headers["ETag"]:
            self._begin(304, 0, headers)
            return
        if fault is not None and fault.mode == "corrupt":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        if fault is not None and fault.mode == "truncated":
            content = content[: fault.after_bytes]
        status = 200
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            status, content = self._cut_out(wanted, content, headers)
        self._begin(status, len(content), {"Content-Type": "application/octet-stream", **headers})
        if body:
            self._send(content, fault)

    def _cut_out(self, wanted: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first:  # the last N bytes
            begin, end = max(0, len(content) - int(last)), len(content)
        else:
            begin, end = int(first), min(int(last) + 1, len(content)) if last else len(content)
        if begin >= len(content):
            headers["Content-Range"] = f"bytes */{len(content)}"
            return 416, b""
        self._first = begin
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        return 206, content[begin:end]

    def _send(self, content: bytes, fault: Fault | None) -> None:
        mode = None if fault is None else fault.mode
        for begin in range(0, len(content), CHUNK_BYTES):
            piece = content[begin : begin + CHUNK_BYTES]
            if fault is not None and mode in ("cut", "stalled") and begin + len(piece) > fault.after_bytes:
                self._write(piece[: max(0, fault.after_bytes - begin)])
                if mode == "stalled":
                    self._stall()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self._write(piece)
            if fault is not None and mode == "slow":
                time.sleep(len(piece) / fault.bytes_per_second)

    def _stall(self) -> None:
        """Say no more until the server is closed; nobody waits for the end of this answer."""
        with self.shared.lock:
            self.shared.answering -= 1
            self.shared.lock.notify_all()
        self.shared.ended.wait(3600)
        with self.shared.lock:
            self.shared.answering += 1

    def _send_whole(self, status: int, content: bytes, kind: str, *, body: bool) -> None:
        self._begin(status, len(content), {"Content-Type": kind})
        if body:
            self._write(content)

    def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self._status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()
        self._sent += len(content)
