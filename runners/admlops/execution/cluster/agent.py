"""The brief program on each machine of a cluster: `python -m admlops.execution.cluster.agent OPERATION`.

It reads JSON from standard input, where no other process sees a token, and prints one line of JSON. It says what the
machine is, starts Ray, lists the processes of clusters, and ends them by process id: `ray stop` would end every Ray on
the machine.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from admlops.core.errors import AdmlopsError, EnvError, UsageError
from admlops.core.paths import find_layout
from admlops.execution.cluster.marks import (
    CLUSTER_VARIABLE,
    KEEP_ENVIRONMENT,
    NODE_VARIABLE,
    MarkedProcess,
    end_marked,
    find_marked,
)
from admlops.execution.cluster.state import forget, write_token

ANSWER = "ADMLOPS-AGENT "
"""The prefix of the answer's line: a login shell may print lines of its own."""
START_S = 120.0
ATTEMPTS = 3
SLOW = "timed out during startup"
"""Ray gives a node half a minute to start; a busy machine may need longer, so the start is repeated."""
TEMPORARY = "/tmp/admlops-ray-"  # noqa: S108
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "2000",
}
"""A node that does not answer is given up after about nine seconds; Ray's own settings take a minute."""
SPARING = {
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would kill actors when memory is short; a worker that takes too much is a failure class of ours.
    "RAY_memory_monitor_refresh_ms": "0",
}
STORE_BYTES = 512 << 20
"""For messages in transit; Ray's default is a third of the memory."""

Facts = Mapping[str, Any]


def describe(_: Facts) -> dict[str, Any]:
    """Say what this machine is and has: versions, code, addresses, GPUs."""
    import psutil

    from admlops.execution.cluster.code import describe_node

    addresses = [
        one.address.partition("%")[0]
        for each in psutil.net_if_addrs().values()
        for one in each
        if one.family in (socket.AF_INET, socket.AF_INET6)
    ]
    node = describe_node()
    return {
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "ray": _ray_version(),
        "code": node["code"],
        "checkout": node["checkout"],
        "addresses": addresses,
        "gpus": [one["name"] for one in node["machine"]["gpus"]["devices"]],
        "cpus": node["machine"]["cpu_count"],
    }


def start(facts: Facts) -> dict[str, Any]:
    """Start Ray's head or a node of it; returns the processes.

    Raises:
        EnvError: Ray did not start; the message holds its last lines.
    """
    cluster, name = facts["cluster"], facts["name"]
    token = write_token(cluster, facts["token"])
    variables = {**_clean_environment(), **facts["variables"], **_marks(cluster, name, token)}
    for attempt in range(ATTEMPTS):
        # Each attempt has its own folder, with a short path: a socket's path has 107 characters at most.
        folder = f"{TEMPORARY}{cluster}-{facts['index']}{'abc'[attempt]}"
        done = _run([*_start_command(facts), f"--temp-dir={folder}"], variables)
        if done is not None and done.returncode == 0:
            return {"processes": [_show(one) for one in find_marked([cluster]) if one.node == name]}
        end_marked([cluster], node=name, term_s=0.5)
        if done is not None and SLOW not in done.stdout + done.stderr:
            break
    said = "" if done is None else _last_words(done)
    reason = f"within {START_S:g} s" if done is None else f"(exit code {done.returncode})"
    raise EnvError(f"Ray did not start {reason}: {said}", hint=f"ls {folder}   # its logs")


def _start_command(facts: Facts) -> list[str]:
    head = ["--head", f"--port={facts['port']}", "--include-dashboard=false"]
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        *(head if facts["index"] == 0 else [f"--address={facts['head']}"]),
        f"--node-ip-address={facts['address']}",
        f"--node-name={facts['name']}",
        f"--num-gpus={facts['gpus']}",
        f"--num-cpus={facts['cpus']}",
        f"--object-store-memory={STORE_BYTES}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
    ]


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that `ray start` prints: of an exception or of a message."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def processes(_: Facts) -> dict[str, Any]:
    """List this machine's processes of all clusters."""
    return {"hostname": socket.gethostname(), "processes": [_show(one) for one in find_marked()]}


def nodes(facts: Facts) -> dict[str, Any]:
    """Ask the cluster which nodes are alive; runs where one of them is."""
    from admlops.execution.cluster.connection import connect, list_nodes

    ray = connect(facts["address"])
    free = ray.available_resources()
    found = [{"name": one.name, "address": one.address, "gpus": one.gpus, "cpus": one.cpus} for one in list_nodes(ray)]
    return {"nodes": found, "free_gpus": float(free.get("GPU", 0))}


def end(facts: Facts) -> dict[str, Any]:
    """End a cluster's processes; returns those that ended, and those that are left.

    With `orphans`, end only those whose actors are gone; else remove the cluster's token and files as well.
    """
    cluster = facts["cluster"]
    before = find_marked([cluster])
    left = end_marked([cluster], orphans=facts["orphans"])
    if not facts["orphans"] and not left:
        for folder in Path(TEMPORARY).parent.glob(f"{Path(TEMPORARY).name}{cluster}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        forget(cluster)
    gone = {one.pid for one in before} - {one.pid for one in find_marked([cluster])}
    return {"ended": [_show(one) for one in before if one.pid in gone], "left": left}


OPERATIONS: Mapping[str, Callable[[Facts], dict[str, Any]]] = {
    "describe": describe,
    "start": start,
    "processes": processes,
    "nodes": nodes,
    "end": end,
}


def _marks(cluster: str, node: str, token: Path) -> dict[str, str]:
    return {
        CLUSTER_VARIABLE: cluster,
        NODE_VARIABLE: node,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        **KEEP_ENVIRONMENT,
        **HEALTH,
        **SPARING,
    }


def _clean_environment() -> dict[str, str]:
    """Return this process's variables without those that would configure Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _run(command: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    """Run `ray start`; its processes go on in a session and with logs of their own. None if it takes too long."""
    try:
        return subprocess.run(
            command,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return None


def _show(one: MarkedProcess) -> dict[str, Any]:
    return {"pid": one.pid, "cluster": one.cluster, "node": one.node, "role": one.role, "orphan": one.is_orphan}


def _ray_version() -> str | None:
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> int:
    """Carry out the operation that the command line names."""
    begun = time.monotonic()
    try:
        if len(sys.argv) != 2 or sys.argv[1] not in OPERATIONS:
            raise UsageError(f"one of {', '.join(OPERATIONS)} is due", hint="admlops cluster --help")
        find_layout()
        answer = OPERATIONS[sys.argv[1]](json.load(sys.stdin))
    except AdmlopsError as error:
        answer = {"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}}
    sys.stdout.write(ANSWER + json.dumps({**answer, "took_s": round(time.monotonic() - begun, 3)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
