"""What can be reached: conda channels, the package index, the models' sources and weights, stores, trackers.

All are asked at once, with a short time limit; whatever a server says is an answer. A machine that reaches none of them
is off-line, which is a state and no fault: what is installed works. A mirror, store or server that was set for this
machine is a fault if it does not answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from admlops.catalog import Model, list_models, load_model
from admlops.core.addresses import hide_users, redact
from admlops.core.errors import AdmlopsError
from admlops.core.object_store import open_store
from admlops.core.paths import Layout
from admlops.environments.install.conda.mirror import CANONICAL_HOST, mirrored
from admlops.environments.install.uv import run_uv
from admlops.pipeline.health.check import Finding, HealthCheck, Place
from admlops.pipeline.health.waiting import ask_all

ANSWER_S, INDEX_S, PEER_S = 4.0, 10.0, 12.0
"""How long a server, the index and any peer may take to answer."""
STATE = "network"
PROBED_PACKAGE = "packaging"
"""A package that every index has; the host itself needs it."""
HINT = "check the network and HTTPS_PROXY; admlops doctor explains what a failed download says"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Something that is asked whether it is there. `own`: it was set for this machine, and must answer.

    `ask` returns nothing where there was an answer, else why there was none.
    """

    name: str
    address: str
    ask: Callable[[], str | None]
    own: bool = False
    advice: str = HINT


@dataclass(frozen=True)
class _Answer:
    peer: Peer
    seconds: float
    problem: str | None


def _look(place: Place) -> Iterator[Finding]:
    models = [load_model(place.layout, name) for name in list_models(place.layout)] if place.layout.is_checkout else []
    peers = list(list_peers(place, models))
    found = ask_all({f"{number}": (partial(_ask, one), PEER_S) for number, one in enumerate(peers)})
    late = f"no answer within {PEER_S:g} s"
    answers = [found.get(f"{number}") or _Answer(one, PEER_S, late) for number, one in enumerate(peers)]
    public = [one for one in answers if not one.peer.own]
    offline = all(one.problem for one in public)
    yield Finding(measure=STATE, value="off-line" if offline else "on-line")
    for one in answers:
        yield _judge(one, offline=offline)


def _ask(peer: Peer) -> _Answer:
    begun = time.monotonic()
    problem = peer.ask()
    return _Answer(peer, time.monotonic() - begun, problem)


def _judge(answer: _Answer, *, offline: bool) -> Finding:
    peer = answer.peer
    if answer.problem is None:
        return Finding(
            measure="answers in", value=round(answer.seconds * 1e3), unit="ms", subject=f"{peer.name} {peer.address}"
        )
    silent = Finding(measure="answers in", value=None, unit="ms", subject=f"{peer.name} {peer.address}")
    if offline and not peer.own:
        return silent
    return Finding(
        measure=silent.measure,
        value=None,
        unit="ms",
        subject=silent.subject,
        status="fail" if peer.own else "warn",
        problem=answer.problem,
        advice=peer.advice,
    )


def list_peers(place: Place, models: Iterable[Model]) -> Iterator[Peer]:
    """List what this installation fetches from, each host once, and what the variables name."""
    own_channels = mirrored(CANONICAL_HOST + "/") != CANONICAL_HOST + "/"
    yield _server(
        "conda channels", mirrored(CANONICAL_HOST + "/conda-forge/noarch/repodata.json.zst"), own=own_channels
    )
    yield Peer(
        name="package index",
        address="as uv is set up",
        ask=lambda: _ask_index(place.layout),
        advice="env | grep -iE '^(uv|pip)_|proxy' | cut -d= -f1   # look at these variables, then try again",
    )
    mirror = place.variables.get("ADMLOPS_DOWNLOAD_MIRROR", "").rstrip("/")
    if mirror:
        yield _server("download mirror", mirror, own=True, variable="ADMLOPS_DOWNLOAD_MIRROR")
    yield from _hosts_of(list(models), weights=not mirror)
    store = place.variables.get("ADMLOPS_PACK_STORE")
    if store:
        shown = redact(store) if "://" in store else store
        yield Peer(
            name="pack store",
            address=shown,
            ask=lambda: _ask_store(store),
            own=True,
            advice="admlops env pull MODEL   # says more; check ADMLOPS_PACK_STORE and AWS_ENDPOINT_URL",
        )
    tracker = place.variables.get("MLFLOW_TRACKING_URI", "")
    if tracker.startswith("http"):
        yield _server("tracking server", tracker, own=True, variable="MLFLOW_TRACKING_URI")


def _hosts_of(models: Sequence[Model], *, weights: bool) -> Iterator[Peer]:
    """Yield each host that sources and weights come from, once."""
    uses: dict[str, list[str]] = {}
    for one in models:
        found = [("sources", one.source.repository)]
        found += [("weights", point.url) for point in one.checkpoints.values() if weights]
        for what, url in found:
            if url and what not in uses.setdefault(_host(url), []):
                uses[_host(url)].append(what)
    for host, kinds in sorted(uses.items()):
        yield _server(" and ".join(kinds), host)


def _host(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def _server(name: str, address: str, *, own: bool = False, variable: str = "") -> Peer:
    advice = f"curl -I {redact(address)}   # then correct {variable}, or unset it" if variable else HINT
    return Peer(name=name, address=_host(redact(address)), ask=lambda: ask_server(address), own=own, advice=advice)


def ask_server(address: str, *, timeout_s: float = ANSWER_S) -> str | None:
    """Ask a server whether it is there; return why it is not, None where it answered, whatever it said."""
    import httpx

    try:
        httpx.head(address, timeout=timeout_s, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        return hide_users(str(error)) or f"no answer within {timeout_s:g} s"
    return None


def _ask_index(layout: Layout) -> str | None:
    """Ask the index for one package by uv itself, which knows all its settings: index, proxy, certificates, keys."""
    with tempfile.TemporaryDirectory(prefix="admlops-health-") as folder:
        asked = Path(folder) / "asked.in"
        asked.write_text(f"{PROBED_PACKAGE}\n")
        question = ("pip", "compile", "--no-cache", "--no-deps", "--quiet", "--no-header", asked)
        try:
            done = run_uv(question, layout=layout, timeout_s=INDEX_S)
        except AdmlopsError as error:
            return error.message
    if done.returncode == 0:
        return None
    lines = [text for line in done.stderr.splitlines() if (text := line.strip(" ×╰─▶├│"))]
    return hide_users(lines[0]) if lines else "uv could not ask it"


def _ask_store(target: str) -> str | None:
    from obstore.exceptions import BaseError

    try:
        store = open_store(target, push="admlops env push MODEL")
        next(iter(store.list(chunk_size=1)), None)
    except AdmlopsError as error:
        return error.message
    except (BaseError, OSError) as error:
        return hide_users(str(error)).splitlines()[0]
    return None


CHECK = HealthCheck(id="connectivity", title="Network", look=_look, deadline_s=20.0)
