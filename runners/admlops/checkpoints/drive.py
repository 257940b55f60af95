"""Files on Google Drive: the page that warns about unscanned files, and the pages that refuse."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode, urljoin

from admlops.core.errors import DownloadError
from admlops.core.types import DownloadWatch
from admlops.downloads import Download, WebPageError, download

_DOWNLOAD = "https://drive.usercontent.google.com/download"
_FORM = "download-form"
_GONE = "the file on Google Drive is not there any more"
_QUOTA = "Google Drive's quota of this file is used up, usually for a day"
_REFUSALS = (
    # what stands on the page, what it means
    ("too many users have viewed or downloaded", _QUOTA),
    ("quota exceeded", _QUOTA),
    ("automated queries", "Google Drive refuses this machine's address for a while"),
    ("does not exist", _GONE),
    ("servicelogin", "the file on Google Drive is not public any more"),
    ("you need access", "the file on Google Drive is not public any more"),
)


def page_address(file_id: str) -> str:
    """Return where a person can download the file in a browser."""
    return f"https://drive.google.com/file/d/{file_id}/view"


def download_from_drive(
    file_id: str,
    target: Path,
    *,
    sha256: str | None,
    size_bytes: int | None,
    progress: DownloadWatch | None,
    say: Callable[[str], None],
) -> Download:
    """Fetch a public file. Large files come behind a page that warns that they were not scanned for viruses.

    Raises:
        DownloadError: quota, no public file, or no network; the message says which.
    """
    address = f"{_DOWNLOAD}?{urlencode({'id': file_id, 'export': 'download', 'confirm': 't'})}"
    for _ in range(2):
        try:
            return download(address, target, sha256=sha256, size_bytes=size_bytes, progress=progress, say=say)
        except WebPageError as error:
            confirmed = _confirmation(error)
            if confirmed is None:
                raise _explain(error) from error
            address = confirmed
    raise DownloadError(
        "Google Drive asks again and again whether to download the file", hint="download it in a browser"
    )


def _confirmation(error: WebPageError) -> str | None:
    """The address that the warning page's form leads to; None on every other page."""
    form = _Form()
    form.feed(error.page)
    if form.action is None or "confirm" not in form.fields:
        return None
    return f"{urljoin(error.address, form.action)}?{urlencode(form.fields)}"


def explain_page(page: str) -> str | None:
    """Return what a page of Google Drive's in place of a file means; None for any other page."""
    text = page.lower()
    if "google" not in text:
        return None
    if _FORM in text or "virus scan warning" in text:
        return "Google Drive's warning that it did not scan the file for viruses, with the button that downloads it"
    return next((meaning for mark, meaning in _REFUSALS if mark in text), None)


def _explain(error: WebPageError) -> DownloadError:
    text = f"{error.page} {error.address}".lower()
    reason = next((meaning for mark, meaning in _REFUSALS if mark in text), error.message)
    return DownloadError(_GONE if error.status == HTTPStatus.NOT_FOUND else reason, hint="download it in a browser")


class _Form(HTMLParser):
    """The action and the hidden fields of the page's download form."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = values.get("id") == _FORM
            if self._inside:
                self.action = values.get("action")
        elif tag == "input" and self._inside and values.get("type") == "hidden":
            self.fields[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
