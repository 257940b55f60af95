"""The processes of a cluster on this machine, found by the mark that all of them inherit.

Ray's own processes, the actors in them and the model's workers carry `ADMLOPS_CLUSTER` and `ADMLOPS_NODE`; a worker
and what it starts also carry `ADMLOPS_ACTOR`, the actor that they work for. A process that has changed its title keeps
its environment readable where `SPT_NOENV` is set.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from admlops.core.supervise import start_time
from admlops.execution.process_cleanup import GONE, MARK_VARIABLE, PROC

CLUSTER_VARIABLE = "ADMLOPS_CLUSTER"
NODE_VARIABLE = "ADMLOPS_NODE"
ACTOR_VARIABLE = "ADMLOPS_ACTOR"
KEEP_ENVIRONMENT = {"SPT_NOENV": "1"}
"""Makes programs that change their title leave /proc/PID/environ intact (setproctitle)."""
LOOK_S = 0.05
_RAY = re.compile(
    r"(gcs_server|raylet|monitor\.py|log_monitor\.py|dashboard\.py|agent\.py|DashboardAgent|RuntimeEnvAgent)"
)
_IDLE = re.compile(r"^ray::")


@dataclass(frozen=True, kw_only=True)
class MarkedProcess:
    """A process of a cluster. `role` is one of Ray's programs, `actor`, or `worker` with all that a worker starts."""

    pid: int
    cluster: str
    node: str
    role: str
    actor: str | None

    @property
    def is_orphan(self) -> bool:
        """Whether it works for an actor that is gone."""
        return self.actor is not None and not is_alive(self.actor)


def own_actor_mark() -> str:
    """Return a name of this process that no later process with the same id shares."""
    return f"{os.getpid()}.{start_time(os.getpid())}"


def find_marked(clusters: Iterable[str] | None = None) -> list[MarkedProcess]:
    """List this machine's living processes of these clusters, of any if None; not this one and its ancestors."""
    wanted = None if clusters is None else frozenset(clusters)
    own = _ancestors()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        with suppress(OSError):  # it ended in the meantime, or is another user's
            one = _read(entry)
            if one is not None and (wanted is None or one.cluster in wanted):
                found.append(one)
    return found


def end_marked(
    clusters: Iterable[str],
    *,
    node: str | None = None,
    orphans: bool = False,
    term_s: float = 3.0,
    kill_s: float = 10.0,
) -> list[int]:
    """End the processes of these clusters: TERM, `term_s` of patience, KILL. Returns those that are still there.

    Args:
        clusters: their ids.
        node: end only those of this node.
        orphans: end only what works for an actor that is gone.
        term_s: patience after TERM [s].
        kill_s: how long to wait for the kernel [s].
    """
    chosen = frozenset(clusters)

    def left() -> list[int]:
        found = (one for one in find_marked(chosen) if node in (None, one.node))
        return [one.pid for one in found if not orphans or one.is_orphan]

    _signal(left(), signal.SIGTERM)
    deadline = time.monotonic() + term_s
    while time.monotonic() < deadline and left():
        time.sleep(LOOK_S)
    deadline = time.monotonic() + kill_s
    while pids := left():  # repeatedly: a raylet may start another during the search
        _signal(pids, signal.SIGKILL)
        if time.monotonic() > deadline:
            return pids
        time.sleep(LOOK_S)
    return []


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)  # a stopped process does not handle TERM
            os.kill(pid, number)


def _read(entry: Path) -> MarkedProcess | None:
    variables = dict(part.split(b"=", 1) for part in (entry / "environ").read_bytes().split(b"\0") if b"=" in part)
    cluster = variables.get(CLUSTER_VARIABLE.encode())
    if cluster is None:
        return None
    state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    if state in GONE:
        return None
    actor = variables.get(ACTOR_VARIABLE.encode())
    title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return MarkedProcess(
        pid=int(entry.name),
        cluster=cluster.decode("utf-8", "replace"),
        node=variables.get(NODE_VARIABLE.encode(), b"").decode("utf-8", "replace"),
        role=_role(title, is_worker=MARK_VARIABLE.encode() in variables),
        actor=None if actor is None else actor.decode("utf-8", "replace"),
    )


def _role(title: str, *, is_worker: bool) -> str:
    if is_worker:
        return "worker"
    found = _RAY.search(title)
    if found is not None:
        return found[1].removesuffix(".py")
    return "actor" if _IDLE.match(title) or "default_worker.py" in title else "other"


def is_alive(mark: str) -> bool:
    """Say whether the process that `own_actor_mark` named still runs."""
    pid, _, started = mark.partition(".")
    return pid.isdigit() and str(start_time(int(pid))) == started


def _ancestors() -> set[int]:
    """Return this process and its ancestors: an agent that was started within a cluster must not end itself."""
    found, pid = set(), os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = int((PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()[1])
        except (OSError, ValueError):
            break
    return found
