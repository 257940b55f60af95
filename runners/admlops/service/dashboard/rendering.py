"""Pages from templates: the environment, what templates may call, and the headers of a page."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse

from admlops import __version__
from admlops.catalog.protocols import headlines_of
from admlops.service.security.access import identity_of

STATIC = {
    "dashboard.css": ("static", "text/css; charset=utf-8"),
    "dashboard.js": ("static", "text/javascript; charset=utf-8"),
    "charts.js": ("static", "text/javascript; charset=utf-8"),
    "icon.svg": ("static", "image/svg+xml"),
    "htmx.min.js": ("vendor", "text/javascript; charset=utf-8"),
    "hx-sse.min.js": ("vendor", "text/javascript; charset=utf-8"),
    "uPlot.iife.min.js": ("vendor", "text/javascript; charset=utf-8"),
    "uPlot.min.css": ("vendor", "text/css; charset=utf-8"),
}
"""The files that pages load: name → (folder, type)."""

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Pages load from here alone, and hold neither scripts nor styles of their own."""
PAGE_HEADERS = {"content-security-policy": PAGE_POLICY, "cache-control": "no-store"}

SECTIONS = (
    ("/", "Overview"),
    ("/start", "Start"),
    ("/runs", "Runs"),
    ("/comparisons", "Comparisons"),
    ("/history", "History"),
)


async def show(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """Return the page that a template makes of values; it is made in a thread, for some are long."""
    identity = identity_of(request)
    common = {
        "here": request.url.path,
        "may_run": identity.may("run"),
        "may_leave": identity.way == "cookie",
        "who": identity.name,
    }
    text = await run_in_threadpool(render, template, {**common, **values})
    return HTMLResponse(text, status_code=status, headers=PAGE_HEADERS)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the text that a template makes of values; everything in them is escaped."""
    return environment().get_template(template).render(values)


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("admlops.service.dashboard", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {
            "ago": ago,
            "clock": clock,
            "duration": duration,
            "elapsed": elapsed,
            "heading": heading,
            "iso": iso,
            "milliseconds": milliseconds,
            "moment": moment,
            "number": number,
            "sentence": sentence,
            "part": lambda text: quote(str(text), safe=""),
        }
    )
    made.globals.update({"asset": asset, "sections": SECTIONS, "version": __version__, "query": query})
    return made


@cache
def read_static(name: str) -> bytes:
    """Return a file that pages load. Raises KeyError: there is none of that name."""
    folder, _ = STATIC[name]
    return (resources.files("admlops.service.dashboard") / folder / name).read_bytes()


@cache
def asset(name: str) -> str:
    """Return the address of a file that pages load; it changes with the file, so that browsers may keep it."""
    return f"/static/{name}?v={hashlib.sha256(read_static(name)).hexdigest()[:12]}"


def query(values: Mapping[str, object], **changed: object) -> str:
    """Return values as the query of an address, some of them changed; what is empty is left out."""
    kept = {key: value for key, value in {**values, **changed}.items() if value not in (None, "", ())}
    return f"?{urlencode(kept, doseq=True)}" if kept else ""


def to_time(value: float | str | None) -> datetime | None:
    """Return a moment, given in seconds since 1970 or in ISO 8601, in UTC; None for none."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def moment(value: float | str | None) -> str:
    """Write a moment for people, e.g. `2 January 2026, 03:04:05 UTC`."""
    at = to_time(value)
    return "" if at is None else f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def ago(value: float | str | None) -> Markup:
    """Write how long ago a moment was; the exact time is in the title. The page's script keeps it true."""
    at = to_time(value)
    if at is None:
        return Markup("–")
    seconds = time.time() - at.timestamp()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), moment(value), _spell_ago(seconds)
    )


def _spell_ago(seconds: float) -> str:
    """Write it as `dashboard.js` does."""
    if seconds < 10:
        return "just now"
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return f"{int(seconds)} seconds ago"


def iso(value: float | str | None) -> str:
    """Write a moment in ISO 8601, in UTC."""
    at = to_time(value)
    return "" if at is None else at.isoformat(timespec="milliseconds")


def clock(value: float) -> str:
    """Write the time of day of a moment, in UTC."""
    at = to_time(value)
    return "" if at is None else f"{at:%H:%M:%S}"


def elapsed(value: float | str | None) -> str:
    """Write how long it is since a moment."""
    at = to_time(value)
    return "–" if at is None else duration(max(0.0, time.time() - at.timestamp()))


def duration(seconds: float | None) -> str:
    """Write a length of time, e.g. `1.2 s`, `3 min 4 s`, `2 h 5 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def milliseconds(seconds: float | None) -> str:
    """Write a short length of time in milliseconds."""
    return "–" if seconds is None else f"{number(seconds * 1000, 1 if seconds < 0.1 else 0)} ms"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with thin spaces between thousands; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace(",", "\u2009").replace("-", "\u2212")


def heading(metric: Mapping[str, Any]) -> str:
    """Return what a metric is called beside those of other protocols: `map mAP`."""
    return headlines_of(metric["protocol"]).get(metric["name"], metric["name"])


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
