"""A Ray cluster within this machine: nodes at loopback addresses, each with a checkout, data and pretended GPUs."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline.pods import Pod

from admlops.core.paths import find_layout
from admlops.execution.cluster.agent import ANSWER
from admlops.execution.cluster.marks import MarkedProcess, end_marked, find_marked
from admlops.execution.cluster.state import ClusterState, NodeState, make_token

H200 = "NVIDIA H200"
GROUNDPLANE = ("GroundPlane", "common")


@dataclass
class RayNode:
    """A node of a cluster, and its pod."""

    cluster: str
    name: str
    index: int
    pod: Pod
    raylet: int = 0

    def kill(self) -> None:
        """Kill the raylet and its actors, workers by nobody: they must end by themselves."""
        actors = children(self.raylet)
        for pid in (self.raylet, *actors):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self) -> list[int]:
        """Stop all of it, as a machine that hangs; returns the processes."""
        actors = children(self.raylet)
        stopped = [self.raylet, *actors, *(worker for actor in actors for worker in children(actor))]
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return stopped


@dataclass
class RayCluster:
    """The cluster. `driver` is where commands are typed; its own node gives no place for workers."""

    id: str
    address: str
    token: str
    driver: Pod
    folder: Path
    nodes: dict[str, RayNode] = field(default_factory=dict)
    started: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a driver."""
        return {**self.driver.variables, "XDG_STATE_HOME": str(self.folder / "state"), "PRETENDED_GPUS": ""}

    def add(self, name: str, pod: Pod, *, gpus: int) -> RayNode:
        """Start a node."""
        self.started += 1
        node = RayNode(cluster=self.id, name=name, index=self.started - 1, pod=pod)
        host, _, port = self.address.partition(":")
        facts = {
            "cluster": self.id,
            "token": self.token,
            "index": node.index,
            "port": int(port),
            "head": self.address,
            "address": host if node.index == 0 else f"127.0.0.{node.index + 10}",
            "name": name,
            "gpus": gpus,
            "cpus": 2 if gpus else 0,
            "variables": {},
        }
        answer = call_agent("start", facts, {**pod.variables, "XDG_STATE_HOME": str(self.folder / "state")})
        node.raylet = next(one["pid"] for one in answer["processes"] if one["role"] == "raylet")
        self.nodes[name] = node
        return node

    def write_state(self) -> None:
        """Let `admlops cluster` know it, as if it had been started by `up`."""
        nodes = [
            NodeState(name=node.name, host="", address=f"127.0.0.{node.index + 10}", checkout=str(find_layout().root))
            for node in self.nodes.values()
        ]
        state = ClusterState(id=self.id, address=self.address, ray="", python="", created=f"{len(nodes)}", nodes=nodes)
        path = self.folder / "state" / "admlops" / "clusters" / self.id / "cluster.json"
        import msgspec

        path.write_bytes(msgspec.json.encode(state))

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "admlops", *map(str, words)]

    def type(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Type a command in the driver's pod."""
        return subprocess.run(
            self.command(*words),
            env={**self.variables, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    def begin(self, *words: str | Path) -> subprocess.Popen[str]:
        """Begin a command in the driver's pod."""
        return subprocess.Popen(
            self.command(*words), env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def marked(self, *roles: str) -> list[MarkedProcess]:
        """Its living processes of these roles, of all if none is named."""
        return [one for one in find_marked([self.id]) if not roles or one.role in roles]


def call_agent(operation: str, facts: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    """Call the agent as `admlops cluster` does."""
    done = subprocess.run(
        [sys.executable, "-m", "admlops.execution.cluster.agent", operation],
        env=variables,
        input=json.dumps(facts),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith(ANSWER))
    answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
    assert "error" not in answer, answer
    return answer


def make_pod(folder: Path, *, data: Path, gpus: int = 0) -> Pod:
    """A machine's checkout with Chain and GroundPlane, and its own copy of the data."""
    pod = Pod.make(folder, data=data, gpus=(H200,) * gpus)
    for name in GROUNDPLANE:
        shutil.copytree(find_layout().root / "envs" / name, folder / "checkout" / "envs" / name)
    return pod


@contextmanager
def ray_cluster(folder: Path, driver: Pod) -> Iterator[RayCluster]:
    """Start a head; whatever is of the cluster ends with it."""
    cluster = RayCluster(
        id=secrets.token_hex(4),
        address=f"{own_address()}:{_free_port()}",
        token=make_token(),
        driver=driver,
        folder=folder,
    )
    try:
        cluster.add("head", driver, gpus=0)
        yield cluster
    finally:
        left = end_marked([cluster.id], term_s=1.0)
        for path in Path("/tmp").glob(f"admlops-ray-{cluster.id}-*"):
            shutil.rmtree(path, ignore_errors=True)
        assert left == []


def own_address() -> str:
    """This machine's address that is none of the loopback; Ray replaces that one on a head. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def why_not() -> str:
    """Say why there can be no cluster here; empty where there can."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        return "needs the extra admlops[ray]: uv pip install --no-deps -r install/ray.txt"
    return "needs a network interface beside the loopback" if own_address().startswith("127.") else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    """List the processes that a process has started."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
