"""Where conda packages come from: the address that a lock names, or a mirror of it; and whether it answers at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from admlops.core.errors import StorageError
from admlops.core.storage import write_atomically

CANONICAL_HOST = "https://conda.anaconda.org"
MIRROR_VARIABLE = "ADMLOPS_CONDA_MIRROR"
PROBE_TIMEOUT_S = 5.0
PROBE_KEPT_S = 600.0


def mirrored(url: str) -> str:
    """The address to ask for a package that the lock has at `url`: on `ADMLOPS_CONDA_MIRROR`, if that is set."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    if mirror and url.startswith(f"{CANONICAL_HOST}/"):
        return mirror + url.removeprefix(CANONICAL_HOST)
    return url


def channels_answer(urls: Iterable[str], *, cache: Path) -> bool:
    """Tell whether the hosts of these packages can be reached, found out within seconds.

    A host that did not answer is not asked again for ten minutes, so that a machine without network waits once.
    """
    hosts = sorted({"{0.scheme}://{0.netloc}".format(urlsplit(mirrored(url))) for url in urls})
    known = _read(cache / "unreachable.json")
    now = time.time()
    if any(0 <= now - known.get(host, 0.0) < PROBE_KEPT_S for host in hosts):
        return False
    silent = [host for host in hosts if not _answers(host)]
    if silent:
        try:
            write_atomically(cache / "unreachable.json", json.dumps(known | dict.fromkeys(silent, now)).encode())
        except StorageError:
            return False
    return not silent


def _answers(host: str) -> bool:
    """Tell whether a server is there; any response is an answer."""
    import httpx

    try:
        httpx.head(host, timeout=PROBE_TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError):
        return False
    return True


def _read(path: Path) -> dict[str, float]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(host): float(at) for host, at in content.items() if isinstance(at, int | float)}
