"""The one place that downloads a file: watched, resumed and checked beside its place, then renamed into it.

Beside `weights.pth` lie, while it comes, `.weights.pth.part` and `.weights.pth.part.json` with the server's mark of
that very content (its ETag or date). A download that was stopped, even by `kill -9`, goes on from there with the same
call: the server is asked for the rest only if its content is still the same, and the sha256 covers every byte.

Proxies come from the usual variables (HTTPS_PROXY, NO_PROXY, …), certificates from SSL_CERT_FILE. Addresses are printed
without their query and user part, because those hold signatures and passwords. ADMLOPS_DOWNLOAD_MIRROR=URL asks
`URL/<host>/<path>` instead of every `https://<host>/<path>`.

It may import core. Begin here, then `partial.py`.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from admlops import __version__
from admlops.core.addresses import hide_users, redact
from admlops.core.errors import DownloadError, StorageError
from admlops.core.storage import file_sha256
from admlops.core.types import DownloadWatch
from admlops.downloads.answers import (
    PassingError,
    UnreachableError,
    WebPageError,
    is_page,
    page_error,
    parse_range,
    refuse_status,
    validator,
)
from admlops.downloads.partial import Download, PartialFile
from admlops.downloads.public_addresses import PublicTransport, is_private_address, public_only

if TYPE_CHECKING:
    import httpx  # else within functions: it takes a tenth of a second, and most commands download nothing

__all__ = ["Download", "UnreachableError", "WebPageError", "download", "mirrored", "redact", "remote_size"]


CONNECT_TIMEOUT_S = 30.0
MIN_BYTES_PER_S = 1024
"""Slower than this over a whole stall time-out counts as stalled: a server that drips bytes never goes silent."""
UNREACHABLE_ATTEMPTS = 3
LONGEST_WAIT_S = 300.0
LONGEST_BACKOFF_S = 30.0
WORTH_A_NEW_START_BYTES = 16 << 20
"""An attempt that came this much further than any before it restores all attempts."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HINT_NETWORK = "check the network, and HTTPS_PROXY if there is a proxy; then run the command again: it goes on"

log = logging.getLogger(__name__)
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they log whole addresses and headers, signatures and all


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What one call asked for. `shown` is the address as it may be printed."""

    url: str
    shown: str
    target: Path
    sha256: str | None
    size_bytes: int | None
    progress: DownloadWatch
    stall_timeout_s: float


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    progress: DownloadWatch | None = None,
    say: Callable[[str], None] | None = None,
    stall_timeout_s: float = 60,
    attempts: int = 5,
    backoff_s: float = 1.0,
) -> Download:
    """Fetch `url` into `target`, which is as before until the new file is whole and is what `sha256` and size say.

    A `target` that has the `sha256` already is not fetched again. Two processes that want the same file share one
    download. `attempts` counts failures in a row without a considerable advance; the first wait lasts `backoff_s`, each
    further one twice as long, or what the server's Retry-After says. A plain `http` address is taken only from this
    machine or together with a `sha256`.

    Raises:
        UnreachableError: there is no network, or no such server.
        WebPageError: the server answered with a web page instead of a file.
        DownloadError: the server refuses, keeps failing, or has another file than the wanted one.
        StorageError: the disk is full or the folder cannot be written.
    """
    address = mirrored(url)
    tell = say or (lambda line: None)
    wanted = _Wanted(
        url=_check_address(address, sha256),
        shown=redact(address),
        target=target,
        sha256=sha256,
        size_bytes=size_bytes,
        progress=progress or (lambda done, total: None),
        stall_timeout_s=stall_timeout_s,
    )
    if sha256 is not None and target.is_file() and file_sha256(target) == sha256:
        return Download(path=target, sha256=sha256, size_bytes=target.stat().st_size)
    with PartialFile.beside(target, say=tell) as partial:
        if partial.finished_elsewhere(sha256):
            return Download(path=target, sha256=file_sha256(target), size_bytes=target.stat().st_size)
        return _download_whole(wanted, partial, tell, attempts=attempts, backoff_s=backoff_s)


def remote_size(url: str, *, timeout_s: float = 30.0) -> int | None:
    """Return the size of a file in bytes as its server gives it; None where it does not, or is busy.

    Raises:
        UnreachableError: there is no network, or no such server.
        DownloadError: the server has no such file, or refuses.
    """
    import httpx

    address = mirrored(url)
    wanted = _Wanted(
        url=_check_address(address, None),
        shown=redact(address),
        target=Path(),
        sha256=None,
        size_bytes=None,
        progress=lambda done, total: None,
        stall_timeout_s=timeout_s,
    )
    try:
        with _make_client(wanted) as client:
            response = client.head(wanted.url)
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                refuse_status(response, wanted.shown)
            if response.status_code != HTTPStatus.OK:  # such as servers that know no HEAD: the download will say it
                return None
    except PassingError:
        return None
    except httpx.TransportError as error:
        failure = _explain_transport(error, wanted)
        if isinstance(failure, PassingError):
            raise _gave_up(wanted, failure, 1) from error
        raise failure from error
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def mirrored(url: str) -> str:
    """Return the address that is asked instead, where ADMLOPS_DOWNLOAD_MIRROR names a mirror."""
    mirror = os.environ.get("ADMLOPS_DOWNLOAD_MIRROR", "").rstrip("/")
    return f"{mirror}/{url.removeprefix('https://')}" if mirror and url.startswith("https://") else url


def _check_address(url: str, sha256: str | None) -> str:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and (sha256 is not None or parts.hostname in _LOOPBACK)
    if parts.hostname is None or not (parts.scheme == "https" or plain):
        raise DownloadError(
            f"{redact(url)} is not fetched: without a known sha256 only https is safe",
            hint="use an https address",
        )
    return url


def _download_whole(
    wanted: _Wanted, partial: PartialFile, say: Callable[[str], None], *, attempts: int, backoff_s: float
) -> Download:
    """Try again and again until the file is whole and right."""
    failures, wrong, furthest = 0, 0, partial.size_bytes
    with _make_client(wanted) as client:
        while True:
            try:
                _attempt(client, wanted, partial)
                if wanted.sha256 in (None, partial.sha256()):
                    return partial.finish()
                wrong += 1
                found = partial.sha256()
                partial.discard()
                if wrong == 2:
                    raise _wrong_content(wanted, found)
                failure = PassingError(f"the sha256 is {found}, not {wanted.sha256}")
            except PassingError as error:
                failure = error
            if partial.size_bytes - furthest >= WORTH_A_NEW_START_BYTES:
                failures = 0
            furthest = max(furthest, partial.size_bytes)
            failures += 1
            # Nothing came at all: that is rarely a matter of seconds, and someone is waiting for an answer.
            if failures >= (min(attempts, UNREACHABLE_ATTEMPTS) if failure.unreachable and not furthest else attempts):
                raise _gave_up(wanted, failure, failures) from failure
            _wait(wanted, failure, say, backoff_s * 2 ** (failures - 1))


def _make_client(wanted: _Wanted) -> httpx.Client:
    import httpx

    timeout = httpx.Timeout(wanted.stall_timeout_s, connect=min(CONNECT_TIMEOUT_S, wanted.stall_timeout_s))
    try:
        return httpx.Client(
            transport=PublicTransport() if public_only() else None,
            trust_env=not public_only(),
            follow_redirects=True,
            timeout=timeout,
            headers={"User-Agent": f"admlops/{__version__}", "Accept-Encoding": "identity"},
            event_hooks={"request": [lambda request: _refuse_downgrade(request, wanted)]},
        )
    except (ImportError, ValueError, OSError) as error:
        # a socks proxy without its package, a proxy that is not an address, a certificate file that is not there
        raise DownloadError(
            f"the proxy or certificate settings cannot be used: {hide_users(str(error))}",
            hint="env | grep -iE 'proxy|ssl_cert' | cut -d= -f1   # look at these variables",
        ) from error


def _refuse_downgrade(request: httpx.Request, wanted: _Wanted) -> None:
    """Refuse a redirect to where the first address could not have pointed."""
    _check_address(str(request.url), wanted.sha256)


def _attempt(client: httpx.Client, wanted: _Wanted, partial: PartialFile) -> None:
    """Make one request, and read it to its end.

    Raises:
        PassingError: another attempt may do better.
    """
    import httpx

    headers = partial.range_headers(sure=wanted.sha256 is not None)
    log.debug("GET %s from byte %s", wanted.shown, headers.get("Range", "0"))
    try:
        with client.stream("GET", wanted.url, headers=headers) as response:
            if _is_whole_already(response, partial):
                return
            total = _accept(response, wanted, partial)
            _read_body(response, wanted, partial, total)
    except httpx.TooManyRedirects as error:
        hint = "see whether its publisher moved it"
        raise DownloadError(f"{wanted.shown} redirects in circles", hint=hint) from error
    except httpx.InvalidURL as error:
        raise DownloadError(f"{wanted.shown} is not an address: {error}", hint="mend it in model.toml") from error
    except httpx.ReadTimeout as error:
        raise PassingError(f"no byte came for {wanted.stall_timeout_s:g} s") from error
    except httpx.TransportError as error:
        raise _explain_transport(error, wanted) from error
    if total is not None and partial.size_bytes != total:
        raise PassingError(f"it ended after {partial.size_bytes} of {total} bytes")
    if wanted.size_bytes is not None and partial.size_bytes != wanted.size_bytes:
        size = partial.size_bytes
        partial.discard()
        raise _wrong_size(wanted, size)


def _explain_transport(error: httpx.TransportError, wanted: _Wanted) -> Exception:
    import httpx

    text = hide_users(str(error)) or type(error).__name__
    if is_private_address(error):
        return DownloadError(
            f"{wanted.shown} is not fetched: {text}",
            hint="admlops serve --allow-private-addresses   # if those who send jobs may reach this network",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return DownloadError(
            f"the certificate of {urlsplit(wanted.url).hostname} is not trusted: {text}",
            hint="export SSL_CERT_FILE=/path/to/your/network's/certificates.pem   # behind a proxy that opens TLS",
        )
    unreachable = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError))
    return PassingError(text, unreachable=unreachable)


def _is_whole_already(response: httpx.Response, partial: PartialFile) -> bool:
    """Tell whether the server says that nothing is missing: 416, with the size that we have."""
    if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return False
    if response.headers.get("Content-Range", "") == f"bytes */{partial.size_bytes}":
        return True
    partial.discard()
    raise PassingError("the file has another size than what was downloaded of it before")


def _accept(response: httpx.Response, wanted: _Wanted, partial: PartialFile) -> int | None:
    """Make the partial file ready for this answer's body; return the whole file's size, where the server says it."""
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        refuse_status(response, wanted.shown)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(
            f"{wanted.shown} comes compressed, although it was asked for as it is",
            hint="download the file by other means and add it by hand",
        )
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        begin, total = parse_range(response.headers.get("Content-Range", ""))
        if begin != partial.size_bytes:
            partial.discard()
            raise PassingError("the server sent another part of the file than was asked for")
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        partial.begin_anew(validator(response))
    if None not in (total, wanted.size_bytes) and total != wanted.size_bytes:
        partial.discard()
        raise _wrong_size(wanted, total)
    _check_disk(wanted, partial, total)
    return total


def _check_disk(wanted: _Wanted, partial: PartialFile, total: int | None) -> None:
    missing = (total or 0) - partial.size_bytes
    free = shutil.disk_usage(wanted.target.parent).free
    if missing > free:
        raise StorageError(
            f"{wanted.target} needs {missing / 1e6:.0f} MB more, and its disk has {free / 1e6:.0f} MB free",
            hint=f"df -h {wanted.target.parent}   # free some space, or export ADMLOPS_REP_PATH=/a/larger/disk",
        )


def _read_body(response: httpx.Response, wanted: _Wanted, partial: PartialFile, total: int | None) -> None:
    wanted.progress(partial.size_bytes, total)
    window_begun, window_bytes = time.monotonic(), 0
    first = partial.size_bytes == 0
    pieces = response.iter_raw()
    for piece in pieces:
        if first and is_page(response, piece) and wanted.target.suffix not in (".html", ".htm"):
            raise page_error(response, wanted.shown, begin=piece, rest=pieces)
        first = False
        partial.append(piece)
        wanted.progress(partial.size_bytes, total)
        window_bytes += len(piece)
        elapsed = time.monotonic() - window_begun
        if elapsed > wanted.stall_timeout_s:
            if window_bytes < MIN_BYTES_PER_S * elapsed:
                raise PassingError(f"only {window_bytes} bytes came in {elapsed:.0f} s")
            window_begun, window_bytes = time.monotonic(), 0


def _wait(wanted: _Wanted, failure: PassingError, say: Callable[[str], None], backoff_s: float) -> None:
    wait_s = min(backoff_s, LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25)  # noqa: S311  # spreads retries
    if failure.wait_s is not None:
        if failure.wait_s > LONGEST_WAIT_S:
            raise DownloadError(
                f"{failure}, and asks to wait {failure.wait_s:.0f} s",
                hint="run the command again after that time: it goes on",
            )
        wait_s = failure.wait_s
    say(f"{wanted.target.name}: {failure}; trying again in {wait_s:.0f} s")
    time.sleep(wait_s)


def _gave_up(wanted: _Wanted, failure: PassingError, attempts: int) -> DownloadError:
    kind = UnreachableError if failure.unreachable else DownloadError
    return kind(f"{wanted.shown} could not be fetched in {attempts} attempts: {failure}", hint=_HINT_NETWORK)


def _wrong_size(wanted: _Wanted, size_bytes: int | None) -> DownloadError:
    return DownloadError(
        f"{wanted.shown} is another file than the wanted one: {size_bytes} bytes, not {wanted.size_bytes}",
        hint="do not use it; see whether its publisher replaced it, and only then change the pinned size and sha256",
    )


def _wrong_content(wanted: _Wanted, found: str) -> DownloadError:
    return DownloadError(
        f"{wanted.shown} is another file than the wanted one: its sha256 is {found}, not {wanted.sha256}",
        hint="do not use it; see whether its publisher replaced it, and only then change the pinned sha256",
    )
