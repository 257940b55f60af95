"""Who may do what, and what the service does about those who may not."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.conftest import Admlops
from tests.service.served import Served, serve

from admlops.core.errors import UsageError
from admlops.service.security.tokens import read_token_file


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that keeps to public addresses; nothing takes its jobs."""
    with serve(tmp_path_factory.mktemp("strict")) as service:
        yield service


JOB = {"input": {"model": "GroundPlane"}}


@pytest.mark.parametrize("path", ["/v2/run/health", "/v2/run/status/x", "/", "/openapi.json", "/elsewhere"])
def test_without_a_token_nothing_is_told(strict: Served, path: str) -> None:
    for token in (None, "x" * 64, strict.run_token[:-1], strict.run_token + "0"):
        answer = strict.client(token).get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_both_ways_to_send_a_token(strict: Served) -> None:
    for header in (f"Bearer {strict.run_token}", strict.run_token, f"bearer  {strict.run_token}"):
        answer = httpx.get(f"{strict.url}/v2/run/health", headers={"authorization": header})
        assert answer.status_code == 200, header


def test_who_may_read_may_not_run(strict: Served) -> None:
    reader = strict.client(strict.read_token)
    assert reader.get("/v2/run/health").status_code == 200
    for path in ("/v2/run/run", "/v2/run/runsync", "/v2/run/cancel/x", "/v2/run/retry/x", "/v2/run/purge-queue"):
        assert reader.post(path, json=JOB).status_code == 403, path
    assert reader.get("/v2/run/stream/x").status_code == 403, "a stream takes what others wait for"


def test_every_answer_has_its_headers(strict: Served) -> None:
    for answer in (strict.client(None).get("/login"), strict.client(None).get("/x"), strict.client().get("/x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_bodies_have_a_size(strict: Served) -> None:
    client = strict.client()
    too_large = b'{"input": {"model": "' + b"x" * 10_000_000 + b'"}}'
    assert client.post("/v2/run/run", content=too_large).status_code == 413
    assert client.post("/v2/run/runsync", content=too_large + b"}").status_code == 400, "runsync takes 20 MB"

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    assert client.post("/v2/run/run", content=endless()).status_code == 413, "without a Content-Length too"


@pytest.mark.full
def test_slow_requests_are_cut(tmp_path: Path) -> None:
    with serve(tmp_path, "--request-time", "1") as service:
        host, port = urlsplit(service.url).hostname, urlsplit(service.url).port
        assert host is not None
        with socket.create_connection((host, port), timeout=20) as silent:
            silent.sendall(b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            assert silent.recv(100) == b"", "headers that do not end"
        with socket.create_connection((host, port), timeout=20) as second:
            second.sendall(b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert second.recv(100_000).startswith(b"HTTP/1.1 200")
            second.sendall(b"GET /login HTTP/1.1\r\nhost: 127")
            while piece := second.recv(100_000):
                assert not piece.startswith(b"HTTP/1.1")
        with socket.create_connection((host, port), timeout=20) as slow:
            token = service.run_token.encode()
            slow.sendall(
                b"POST /v2/run/run HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer " + token +
                b"\r\ncontent-length: 1000\r\n\r\n{"
            )  # fmt: skip
            assert b" 408 " in slow.recv(1000).splitlines()[0]


@pytest.mark.parametrize(
    "path", ["/v2/run/status/../../../etc/passwd", "/v2/run/status/%2e%2e%2fjobs.sqlite3", "/static/..%2f..%2ftokens"]
)
def test_paths_lead_nowhere_else(strict: Served, path: str) -> None:
    host, port = urlsplit(strict.url).hostname, urlsplit(strict.url).port
    assert host is not None
    with socket.create_connection((host, port), timeout=20) as raw:
        head = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {strict.run_token}\r\nconnection: close\r\n\r\n"
        raw.sendall(head.encode())
        answer = b""
        while piece := raw.recv(4096):
            answer += piece
    assert b" 404 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.7/x",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0/",
        "http://user@192.168.1.1/",
    ],
)
def test_private_addresses_are_refused(strict: Served, address: str) -> None:
    answer = strict.client().post("/v2/run/run", json={**JOB, "webhook": address})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "webhook"


def test_a_link_logs_a_browser_in_once(strict: Served) -> None:
    assert strict.link is not None
    code = strict.link.partition("code=")[2]
    with httpx.Client(base_url=strict.url) as browser:
        assert "log in" in browser.get(strict.link).text.lower()
        assert browser.get("/v2/run/health").status_code == 401, "looking at the link spends nothing"
        own = {"origin": strict.url}
        answer = browser.post("/login", data={"code": code}, headers=own)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert browser.get("/v2/run/health").status_code == 200
        assert browser.post("/v2/run/purge-queue", headers=own).status_code == 200
        for headers in ({"origin": "https://elsewhere.example"}, {}, {"sec-fetch-site": "cross-site"}):
            assert browser.post("/v2/run/purge-queue", headers=headers).status_code == 403, headers
        browser.post("/logout", headers=own)
        assert browser.get("/v2/run/health").status_code == 401
    again = httpx.post(f"{strict.url}/login", data={"code": code})
    assert again.status_code == 401


def test_a_token_makes_links_for_others(strict: Served) -> None:
    link = strict.client(strict.read_token).post("/login/links").json()["link"]
    with httpx.Client(base_url=strict.url) as browser:
        browser.post("/login", data={"code": link.partition("code=")[2]})
        assert browser.get("/v2/run/health").status_code == 200
        own = {"origin": strict.url}
        assert browser.post("/v2/run/run", json=JOB, headers=own).status_code == 403, "it reads, as its maker"


def test_the_audit_log_names_who_and_never_a_secret(strict: Served) -> None:
    strict.client().post("/v2/run/cancel/none")
    strict.client("wrong" * 8).get("/v2/run/health")
    lines = strict.audit()
    text = json.dumps(lines)
    assert any(one["who"] == "alice" and one["what"] == "POST /v2/run/cancel/none" for one in lines)
    assert any(one["who"] == "nobody" and one["outcome"] == 401 for one in lines)
    for secret in (strict.run_token, strict.read_token, "wrong" * 8, str(strict.link).partition("code=")[2]):
        assert secret not in text
        assert secret not in (strict.folder / "log").read_text().replace(str(strict.link), "")
    assert (strict.folder / "service" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_without_tokens_only_this_machine_s_pages_may_act(tmp_path: Path) -> None:
    with serve(tmp_path, with_tokens=False) as service:
        client = service.client(None)
        assert service.link is None
        assert client.get("/v2/run/health").status_code == 200
        assert client.get("/v2/run/health", headers={"host": "evil.example"}).status_code == 403, "DNS rebinding"
        other = {"origin": "https://evil.example"}
        assert client.post("/v2/run/purge-queue", headers=other).status_code == 403
        assert client.post("/v2/run/purge-queue").status_code == 200
        assert service.stop() == 0


@pytest.mark.full
def test_a_stop_ends_open_requests(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        job = service.client().post("/v2/run/run", json=JOB).json()["id"]
        threading.Timer(0.5, lambda: service.process.send_signal(signal.SIGTERM)).start()
        answer = service.client().get(f"/v2/run/status-sync/{job}")
        assert answer.json()["status"] == "IN_QUEUE", "an answer, and before the 30 s of the client are over"
        assert service.process.wait(30) == 0


def test_a_public_address_needs_a_token(admlops: Admlops) -> None:
    done = admlops("serve", "--host", "0.0.0.0", check=False)
    assert done.returncode == 2
    assert "there is no token" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run short\n", "guessed"),
        ("write " + "x" * 32, "scope"),
        ("run a b c", "words"),
        ("# nothing\n", "no token"),
        (f"run a {'x' * 32}\nread a {'y' * 32}", "twice"),
    ],
)
def test_wrong_token_files_are_explained(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        read_token_file(file)
    assert "x" * 32 not in str(caught.value)


def test_tokens_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.touch(mode=0o600)
    file.write_text(f'[[token]]\nname = "alice"\nscope = "run"\ntoken = "{"x" * 32}"\n')
    found = read_token_file(file).find("x" * 32)
    assert found is not None
    assert (found.name, found.scope, found.may("read"), found.may("run")) == ("alice", "run", True, True)
    assert read_token_file(file).find("y" * 32) is None
    for wrong in ("[[token]]\nscope = 3\n", "token = 1\n", "[[token]\n", '[[token]]\nscope = "run"\nkey = "x"\n'):
        file.write_text(wrong)
        with pytest.raises(UsageError):
            read_token_file(file)


def test_a_token_file_for_all_to_read_is_refused(admlops: Admlops, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"run {'x' * 32}")
    file.chmod(0o644)
    done = admlops("serve", "--token-file", file, check=False)
    assert done.returncode == 2
    assert f"chmod 600 {file}" in done.stderr
