"""What an answer of a web server means for a download: its ranges, its refusals, and pages instead of files."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from admlops.core.errors import DownloadError

if TYPE_CHECKING:
    import httpx

LARGEST_PAGE_BYTES = 1 << 20
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_BY_HAND = "download it by other means and add it by hand"
_HINTS = {
    401: f"the file wants a login: {_BY_HAND}",
    403: f"the server refuses this machine, or the file is not public: {_BY_HAND}",
    404: "the file is not there any more: see whether its publisher moved it",
    410: "the file is not there any more: see whether its publisher moved it",
}


class WebPageError(DownloadError):
    """The answer is a web page: `page` is its text, `status` its HTTP status and `address` where it came from."""

    def __init__(self, message: str, *, hint: str, page: str, status: int, address: str) -> None:
        super().__init__(message, hint=hint)
        self.page = page
        self.status = status
        self.address = address


class UnreachableError(DownloadError):
    """The server, or the proxy before it, did not answer at all: it will not for its other files either."""


class PassingError(Exception):
    """Worth another attempt, after `wait_s` if the server named a time; `unreachable` if there was no answer."""

    def __init__(self, reason: str, *, wait_s: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.unreachable = unreachable


def parse_range(value: str) -> tuple[int | None, int | None]:
    """`bytes 100-199/200` → (100, 200)."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", value)
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def validator(response: httpx.Response) -> str | None:
    """Return what If-Range may name: a strong ETag, else the date of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    changed: str | None = response.headers.get("Last-Modified")
    return changed


def is_page(response: httpx.Response, begin: bytes) -> bool:
    """Tell whether the answer, or the `begin` of its body, is HTML."""
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml"):
        return True
    return begin.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def page_error(response: httpx.Response, shown: str, *, begin: bytes, rest: Iterable[bytes]) -> WebPageError:
    """The error that holds the page, or as much of it as comes."""
    import httpx

    page = bytearray(begin)
    with suppress(httpx.HTTPError):
        for piece in rest:
            page += piece
            if len(page) > LARGEST_PAGE_BYTES:
                break
    text = page.decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    named = f' ("{" ".join(title[1].split())[:120]}")' if title else ""
    answer = "" if response.is_success else f", status {response.status_code}"
    return WebPageError(
        f"{shown} answered with a web page{named} instead of the file{answer}",
        hint="open the address in a browser: it may want a login, a click, or another day",
        page=text,
        status=response.status_code,
        address=str(response.url),
    )


def refuse_status(response: httpx.Response, shown: str) -> NoReturn:
    """Raise the error that an unsuccessful status means.

    Raises:
        PassingError: the server may answer otherwise later.
        WebPageError: it explains itself on a page.
        DownloadError: it refuses.
    """
    status = response.status_code
    reason = f"{shown} answered {status} {response.reason_phrase}".rstrip()
    if status in RETRIED_STATUSES:
        raise PassingError(reason, wait_s=_retry_after_s(response.headers.get("Retry-After")))
    if is_page(response, b""):
        raise page_error(response, shown, begin=b"", rest=response.iter_raw())
    raise DownloadError(reason, hint=_HINTS.get(status, "see whether its publisher moved it, or try again later"))


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, or the date until which to wait."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
