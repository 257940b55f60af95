"""A web server on the loopback whose answers a test scripts: files with ranges, and every fault a download meets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Request"], None]


@dataclass
class FileServer:
    """`answers[path]` are used one request after the other, the last one for all that follow."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def serve(self, path: str, *answers: Answer) -> str:
        """Script a path; its address."""
        self.answers[path] = list(answers)
        return f"{self.url}{path}"

    def ranges(self) -> list[str | None]:
        """The Range header of every request, in order."""
        return [headers.get("range") for _, headers in self.requests]


class Request(BaseHTTPRequestHandler):
    """One request; `send` writes a whole answer."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        scripted: FileServer = self.server.scripted
        scripted.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        answers = scripted.answers.get(self.path.partition("?")[0])
        if not answers:
            self.send(404, b"no such file", {"Content-Type": "text/plain"})
            return
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def do_HEAD(self) -> None:
        """The last answer's headers: what the path settles on."""
        answers = self.server.scripted.answers.get(self.path.partition("?")[0])
        if answers:
            answers[-1](self)
        else:
            self.send(404, b"", {"Content-Type": "text/plain"})

    def send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """Send status, headers and body; `length` is what Content-Length says, right or wrong."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        if length is not None and length > len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    scripted: FileServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests do."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A server that runs while the block does."""
    server = _Server(("127.0.0.1", 0), Request)
    port = server.server_address[1]
    server.scripted = FileServer(url=f"http://127.0.0.1:{port}", port=port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.scripted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def whole(content: bytes, *, etag: str | None = '"v1"', kind: str = "application/octet-stream") -> Answer:
    """The file, with ranges and If-Range as a good server has them."""

    def answer(request: Request) -> None:
        headers = {"Content-Type": kind, "Accept-Ranges": "bytes"} | ({} if etag is None else {"ETag": etag})
        asked = request.headers.get("Range")
        wanted = request.headers.get("If-Range")
        if asked is None or wanted not in (None, etag):
            request.send(200, content, headers)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-"))
        if begin >= len(content):
            request.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        request.send(206, content[begin:], headers)

    return answer


def cut_after(content: bytes, sent: int, *, etag: str | None = '"v1"') -> Answer:
    """Promise the file, send `sent` bytes of it and hang up."""

    def answer(request: Request) -> None:
        headers = {} if etag is None else {"ETag": etag}
        request.send(200, content[:sent], headers, length=len(content))

    return answer


def stall_after(content: bytes, sent: int, *, etag: str = '"v1"', hold_s: float = 120) -> Answer:
    """Promise the file, send `sent` bytes of it and fall silent."""

    def answer(request: Request) -> None:
        request.send(200, content[:sent], {"ETag": etag}, length=len(content))
        time.sleep(hold_s)

    return answer


def drip(content: bytes, *, every_s: float, pieces: int = 200) -> Answer:
    """Send a byte now and then: never silent, never done."""

    def answer(request: Request) -> None:
        request.send(200, b"", {}, length=len(content))
        for index in range(pieces):
            request.wfile.write(content[index : index + 1])
            request.wfile.flush()
            time.sleep(every_s)

    return answer


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"later") -> Answer:
    """An answer that is no file."""
    return lambda request: request.send(code, body, {"Content-Type": "text/plain"} | (headers or {}))


def page(text: str, code: int = 200) -> Answer:
    """A web page."""
    return lambda request: request.send(code, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


def redirect(address: str) -> Answer:
    """Send the client elsewhere."""
    return lambda request: request.send(302, b"", {"Location": address})
