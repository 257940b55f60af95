"""Downloads against a real server: what is resumed, what is refused, what is left on disk and what is said."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.file_server import (
    FileServer,
    cut_after,
    drip,
    file_server,
    page,
    redirect,
    stall_after,
    status,
    whole,
)

from admlops import downloads
from admlops.core.errors import DownloadError, StorageError
from admlops.downloads import Download, UnreachableError, WebPageError, download, redact

CONTENT = random.Random(4).randbytes(300_000)
OTHER = random.Random(5).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "files" / "weights.pth"


def fetch(url: str, target: Path, **options: Any) -> Download:
    """A download whose waits are short."""
    return download(url, target, **{"backoff_s": 0.01, "stall_timeout_s": 5, **options})


def left(target: Path) -> list[str]:
    """Everything in the target's folder."""
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.is_dir() else []


def test_a_file_comes_whole_and_nothing_else_stays(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    done = fetch(server.serve("/f", whole(CONTENT)), target, progress=lambda at, of: seen.append((at, of)))
    assert done == Download(path=target, sha256=SHA256, size_bytes=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert left(target) == ["weights.pth"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_cut_download_goes_on_where_it_stopped(server: FileServer, target: Path) -> None:
    said: list[str] = []
    url = server.serve("/f", cut_after(CONTENT, 100_000), whole(CONTENT))
    assert fetch(url, target, say=said.append).sha256 == SHA256
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.requests[1][1]["if-range"] == '"v1"'
    assert len(said) == 1
    assert "weights.pth: " in said[0]


def test_a_later_call_goes_on_as_well(server: FileServer, target: Path) -> None:
    url = server.serve("/f", cut_after(CONTENT, 100_000), whole(CONTENT))
    with pytest.raises(DownloadError, match="1 attempts"):
        fetch(url, target, attempts=1)
    assert left(target) == [".weights.pth.part", ".weights.pth.part.json"]
    assert fetch(url, target).sha256 == SHA256
    assert server.ranges()[1] == "bytes=100000-"
    assert left(target) == ["weights.pth"]


def test_a_file_that_changed_meanwhile_is_not_stitched_together(server: FileServer, target: Path) -> None:
    url = server.serve("/f", cut_after(OTHER, 100_000, etag='"old"'), whole(CONTENT, etag='"new"'))
    assert fetch(url, target).sha256 == SHA256
    assert target.read_bytes() == CONTENT


def test_without_a_validator_only_a_hash_allows_going_on(server: FileServer, target: Path) -> None:
    answers = (cut_after(CONTENT, 100_000, etag=None), whole(CONTENT, etag=None))
    fetch(server.serve("/unknown", *answers), target)
    fetch(server.serve("/known", *answers), target.with_name("other"), sha256=SHA256)
    assert server.ranges() == [None, None, None, "bytes=100000-"]
    assert target.read_bytes() == target.with_name("other").read_bytes() == CONTENT


def test_old_bytes_of_another_file_are_found_out_by_the_hash(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(".weights.pth.part").write_bytes(OTHER[:50_000])
    url = server.serve("/f", whole(CONTENT, etag=None))
    assert fetch(url, target, sha256=SHA256).sha256 == SHA256
    assert server.ranges() == ["bytes=50000-", None]


def test_a_part_that_is_whole_needs_only_its_place(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(".weights.pth.part").write_bytes(CONTENT)
    assert fetch(server.serve("/f", whole(CONTENT)), target, sha256=SHA256).size_bytes == len(CONTENT)
    assert server.ranges() == [f"bytes={len(CONTENT)}-"]


def test_a_target_that_is_right_is_not_fetched_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch(server.serve("/f", whole(OTHER)), target, sha256=SHA256).sha256 == SHA256
    assert server.requests == []


def test_another_file_than_the_pinned_one_is_refused_and_the_old_one_stays(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(DownloadError, match=f"not {SHA256}"):
        fetch(server.serve("/f", whole(OTHER)), target, sha256=SHA256)
    assert target.read_bytes() == b"old"
    assert left(target) == ["weights.pth"]
    assert len(server.requests) == 2, "once more, in case it broke on its way, and no more"


@pytest.mark.parametrize("known", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_than_the_pinned_one_is_refused_before_the_bytes_come(
    server: FileServer, target: Path, known: int
) -> None:
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes, not {known}"):
        fetch(server.serve("/f", whole(CONTENT)), target, size_bytes=known)
    assert left(target) == []
    assert len(server.requests) == 1


def test_silence_is_noticed(server: FileServer, target: Path) -> None:
    said: list[str] = []
    url = server.serve("/f", stall_after(CONTENT, 100_000), whole(CONTENT))
    assert fetch(url, target, stall_timeout_s=3, say=said.append).sha256 == SHA256
    assert "no byte came for 3 s" in said[0]
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_drip_counts_as_stalled(server: FileServer, target: Path) -> None:
    said: list[str] = []
    url = server.serve("/f", drip(CONTENT, every_s=0.05), whole(CONTENT))
    assert fetch(url, target, stall_timeout_s=3, say=said.append).sha256 == SHA256
    assert "bytes came in" in said[0]


def test_a_server_that_is_busy_is_asked_again_when_it_says(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr(downloads, "time", clock)  # its own only: threads of the server sleep too
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    url = server.serve(
        "/f", status(429, {"Retry-After": "7"}), status(503, {"Retry-After": soon}), status(500), whole(CONTENT)
    )
    assert fetch(url, target).sha256 == SHA256
    assert slept[0] == 7
    assert 30 < slept[1] <= 60
    assert slept[2] < 1


def test_a_wait_of_hours_is_left_to_the_user(server: FileServer, target: Path) -> None:
    with pytest.raises(DownloadError, match="asks to wait 86400 s"):
        fetch(server.serve("/f", status(429, {"Retry-After": "86400"})), target)


def test_attempts_are_bounded(server: FileServer, target: Path) -> None:
    with pytest.raises(DownloadError, match=r"in 3 attempts.*503") as raised:
        fetch(server.serve("/f", status(503)), target, attempts=3)
    assert len(server.requests) == 3
    assert "run the command again" in raised.value.hint
    assert left(target) == []


def test_advance_gives_attempts_back(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WORTH_A_NEW_START_BYTES", 50_000)

    def cut_again(request: Any) -> None:
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        end = min(begin + 60_000, len(CONTENT))
        headers = {"ETag": '"v1"', "Content-Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        request.send(206 if begin else 200, CONTENT[begin:end], headers, length=len(CONTENT) - begin)

    assert fetch(server.serve("/f", cut_again), target, attempts=2).sha256 == SHA256
    assert len(server.requests) == 5


@pytest.mark.parametrize(("code", "word"), [(401, "login"), (403, "not public"), (404, "publisher"), (418, "later")])
def test_a_refusal_is_final(server: FileServer, target: Path, code: int, word: str) -> None:
    with pytest.raises(DownloadError, match=str(code)) as raised:
        fetch(server.serve("/f", status(code)), target)
    assert word in raised.value.hint
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [200, 403])
def test_a_page_instead_of_the_file_is_recognised(server: FileServer, target: Path, code: int) -> None:
    text = "<html><head><title>Please\n log in</title></head><body>" + "x" * 300_000 + "</body></html>"
    with pytest.raises(WebPageError, match='"Please log in"') as raised:
        fetch(server.serve("/f", page(text, code)), target)
    assert raised.value.page == text
    assert raised.value.status == code
    assert left(target) == []


def test_a_page_that_claims_to_be_a_file_is_recognised_too(server: FileServer, target: Path) -> None:
    with pytest.raises(WebPageError):
        fetch(server.serve("/f", whole(b"\n<!DOCTYPE html><p>Sorry</p>")), target)
    assert left(target) == []


def test_redirects_are_followed_but_not_to_where_nothing_is_safe(server: FileServer, target: Path) -> None:
    real = server.serve("/real?signature=secret", whole(CONTENT))
    server.serve("/real", whole(CONTENT))
    assert fetch(server.serve("/f", redirect(real)), target).sha256 == SHA256
    with pytest.raises(DownloadError, match=r"http://example\.invalid/f is not fetched"):
        fetch(server.serve("/g", redirect("http://example.invalid/f?signature=secret")), target)
    with pytest.raises(DownloadError, match="circles"):
        fetch(server.serve("/h", redirect("/h")), target)


def test_plain_http_needs_a_hash(target: Path) -> None:
    with pytest.raises(DownloadError, match="only https is safe"):
        fetch("http://example.invalid/file", target)
    with pytest.raises(DownloadError, match="only https is safe"):
        fetch("file:///etc/passwd", target, sha256=SHA256)


def test_secrets_are_printed_nowhere(server: FileServer, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    url = server.serve("/f", status(500), redirect("/real?signature=hush"), status(404)) + "?token=hush"
    server.serve("/real", cut_after(CONTENT, 10), status(404))
    with pytest.raises(DownloadError) as raised:
        fetch(url.replace("127.0.0.1", "user:hush@127.0.0.1"), target, say=said.append)
    printed = "\n".join([str(raised.value), caplog.text, *said])
    assert "/f" in printed
    assert "hush" not in printed
    assert redact("https://user:hush@host:1/path?token=hush#hush") == "https://host:1/path"


def test_a_password_in_a_proxy_is_not_printed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:hush@proxy.invalid:1")
    with pytest.raises(DownloadError, match="proxy or certificate") as raised:
        fetch("https://example.invalid/f", target)
    assert "hush" not in str(raised.value)


def test_a_proxy_is_asked(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.answers["http://example.invalid/f"] = [whole(CONTENT)]
    assert fetch("http://example.invalid/f", target, sha256=SHA256).sha256 == SHA256


def test_a_mirror_stands_in_for_every_host(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_DOWNLOAD_MIRROR", server.url)
    server.serve("/example.invalid/a/f", whole(CONTENT))
    assert fetch("https://example.invalid/a/f?x=1", target).sha256 == SHA256
    assert server.requests[0][0] == "/example.invalid/a/f?x=1"


def test_a_server_that_is_not_there(target: Path) -> None:
    with pytest.raises(UnreachableError, match="in 2 attempts"):
        fetch("http://127.0.0.1:9/f", target, attempts=2)
    assert left(target) == []


def test_a_disk_that_is_too_small_is_said_before_the_bytes_come(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(StorageError, match="0 MB free"):
        fetch(server.serve("/f", whole(CONTENT)), target)
    assert left(target) == []


def test_a_disk_that_fills_up(server: FileServer, target: Path) -> None:
    """A file size limit stands in for the full disk: the write itself fails, as it does there."""
    url = server.serve("/f", whole(CONTENT))
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom admlops.downloads import download\n"
        "from admlops.core.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))\n"
        "try:\n    download(sys.argv[1], Path(sys.argv[2]))\n"
        "except StorageError as error:\n    print(error)\n"
    )
    completed = subprocess.run([sys.executable, "-c", program, url, target], capture_output=True, text=True, check=True)
    assert "could not be written" in completed.stdout
    assert not target.exists()
    assert fetch(url, target).sha256 == SHA256
    assert server.ranges()[1] is not None, "what was there is used"


def test_a_folder_that_cannot_be_made(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        fetch(server.serve("/f", whole(CONTENT)), tmp_path / "file" / "weights.pth")


def start_process(url: str, target: Path) -> subprocess.Popen[str]:
    program = (
        "import sys\nfrom pathlib import Path\nfrom admlops.downloads import download\n"
        "done = download(sys.argv[1], Path(sys.argv[2]), say=lambda line: print(line, flush=True))\nprint(done.sha256)"
    )
    return subprocess.Popen([sys.executable, "-c", program, url, target], stdout=subprocess.PIPE, text=True)


def wait_for(path: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size >= size_bytes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_download_goes_on(server: FileServer, target: Path) -> None:
    url = server.serve("/f", stall_after(CONTENT, 120_000), whole(CONTENT))
    process = start_process(url, target)
    wait_for(target.with_name(".weights.pth.part"), 100_000)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    assert fetch(url, target).sha256 == SHA256
    assert server.ranges()[1] is not None


def test_two_processes_share_one_download(server: FileServer, target: Path) -> None:
    both_are_there = threading.Event()

    def slow(request: Any) -> None:
        request.send(200, CONTENT[:1000], {"ETag": '"v1"'}, length=len(CONTENT))
        both_are_there.wait(50)  # of the 60 s after which silence counts as a stall
        request.wfile.write(CONTENT[1000:])

    url = server.serve("/f", slow)
    first = start_process(url, target)
    wait_for(target.with_name(".weights.pth.part"), 1)
    second = start_process(url, target)
    assert second.stdout is not None
    assert second.stdout.readline() == "weights.pth: waiting for another process that is downloading it\n"
    both_are_there.set()
    assert first.communicate()[0].split() == [SHA256]
    assert second.communicate()[0].split() == [SHA256]
    assert len(server.requests) == 1
    assert left(target) == ["weights.pth"]
