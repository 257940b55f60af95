"""Webhooks: tried three times, signed, and never sent into the private network."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpcore
import pytest
from tests.service.served import Served, serve, stand_in_runner

from admlops.downloads.public_addresses import (
    AsyncPublicBackend,
    PrivateAddressError,
    PublicBackend,
    PublicTransport,
    is_public,
    resolve_public,
)

SECRET = "a-secret-of-the-test-0123456789"


@dataclass
class Receiver:
    """A server that keeps what is posted and answers with `statuses`, the last one for all that follow."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    location: str = ""

    def wait(self, count: int, seconds: float = 40) -> None:
        """Wait until so many posts have come."""
        deadline = time.monotonic() + seconds
        while len(self.posts) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.posts) >= count


@contextmanager
def receive() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            self.send_response(status)
            if receiver.location:
                self.send_header("location", receiver.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?secret=never-logged"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("signed")
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET + "\n")
    options = ("--allow-private-addresses", "--webhook-secret", secret)
    with serve(folder, *options) as service, stand_in_runner(service.database):
        yield service


def submit(service: Served, webhook: str, limit: int = 1) -> str:
    answer = service.client().post(
        "/v2/run/run", json={"input": {"model": "GroundPlane", "limit": limit}, "webhook": webhook}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_the_body_is_that_of_status_and_it_is_signed(signed: Served) -> None:
    with receive() as receiver:
        job = submit(signed, receiver.url)
        receiver.wait(1)
        headers, body = receiver.posts[0]
        assert json.loads(body) == signed.client().get(f"/v2/run/status/{job}").json()
        at, _, signature = headers["x-admlops-signature"].removeprefix("t=").partition(",v1=")
        expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, expected)
        assert abs(time.time() - int(at)) < 60
    assert "never-logged" not in json.dumps(signed.audit())


@pytest.mark.full
def test_a_webhook_that_fails_gets_two_more_tries(signed: Served) -> None:
    with receive() as receiver:
        receiver.statuses = [500, 200]
        job = submit(signed, receiver.url)
        receiver.wait(2)
        assert [json.loads(body)["id"] for _, body in receiver.posts] == [job, job]
        time.sleep(12)
        assert len(receiver.posts) == 2
    with receive() as receiver:
        receiver.statuses = [500]
        submit(signed, receiver.url)
        receiver.wait(3)
        time.sleep(12)
        assert len(receiver.posts) == 3


def test_a_redirect_is_not_followed(signed: Served) -> None:
    with receive() as receiver, receive() as other:
        receiver.statuses, receiver.location = [302], other.url
        job = submit(signed, receiver.url)
        receiver.wait(1)
        for _ in range(100):
            outcomes = [one["outcome"] for one in signed.audit() if one.get("job") == job and one["who"] == "webhook"]
            if outcomes:
                break
            time.sleep(0.05)
        assert outcomes == [302]
        assert other.posts == []


@pytest.mark.full
def test_a_name_that_resolves_anew_does_not_lead_inside(tmp_path: Path) -> None:
    """DNS rebinding: what is public when the job is taken is looked at again by the connection itself."""
    with receive() as receiver, serve(tmp_path) as service:
        from admlops.service.queue.database import open_database
        from admlops.service.queue.jobs import JobQueue

        queue = JobQueue(open_database(service.database))
        job = queue.submit("run", {"model": "GroundPlane"}, webhook=receiver.url)  # as if it had been public then
        with stand_in_runner(service.database):
            for _ in range(200):
                outcomes = [one["outcome"] for one in service.audit() if one.get("job") == job.id]
                if outcomes:
                    break
                time.sleep(0.05)
        assert outcomes == ["private address"]
        assert receiver.posts == []
        queue.database.close()


def test_each_connection_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]])

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert resolve_public("rebinding.example", 80) == "93.184.216.34"
    for _ in range(2):
        with pytest.raises(PrivateAddressError):
            PublicBackend().connect_tcp("rebinding.example", 80)


def test_both_transports_refuse_this_machine() -> None:
    import anyio
    import httpx

    with receive() as receiver:
        with pytest.raises(httpx.ConnectError, match="private network"):
            httpx.Client(transport=PublicTransport(), trust_env=False).post(receiver.url)

        async def post() -> None:
            async with httpcore.AsyncConnectionPool(network_backend=AsyncPublicBackend()) as pool:
                await pool.request("POST", receiver.url)

        with pytest.raises(PrivateAddressError):
            anyio.run(post)
        assert receiver.posts == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
     "ff02::1", "2001:0:53aa:64c:0:fffe:80ff:fffe"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)
