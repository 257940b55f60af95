"""Starting a cluster, looking at it, cleaning up after it, and ending it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from admlops.core.errors import AdmlopsError, EnvError, MissingExtraError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.execution.cluster.addresses import (
    address_of,
    bracketed,
    check_addresses,
    choose_head_address,
    is_address,
)
from admlops.execution.cluster.hosts import Host
from admlops.execution.cluster.ssh import Machines
from admlops.execution.cluster.state import (
    ClusterState,
    NodeState,
    forget,
    make_token,
    read_states,
    write_state,
)

PORT = 6379
TOGETHER = 16
"""How many machines are called at once."""
HEAD = "head"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """What a person asks of a new cluster: its machines, where the head listens, and what this machine gives."""

    hosts: Sequence[Host]
    bind: str | None = None
    port: int = PORT
    checkout: str | None = None
    gpus: int | None = None
    cpus: int | None = None
    works_here: bool = True
    allow_public: bool = False

    def __post_init__(self) -> None:
        if self.bind is not None and not is_address(self.bind):
            raise UsageError(f"--bind {self.bind!r} is no IP address", hint="ip -br address   # then --bind 10.0.0.1")
        if self.checkout is not None and not Path(self.checkout).is_absolute():
            raise UsageError(
                f"--checkout {self.checkout!r} is no absolute path", hint="pass --checkout /workspace/admlops"
            )


@dataclass(frozen=True, kw_only=True)
class MachineStatus:
    """A machine of a cluster: its processes of clusters, or why it could not be asked."""

    node: NodeState
    processes: Sequence[Mapping[str, Any]] = ()
    problem: str = ""

    def of(self, cluster: str) -> list[Mapping[str, Any]]:
        """Return its processes of one cluster."""
        return [one for one in self.processes if one["cluster"] == cluster]

    def has(self, cluster: str, role: str) -> bool:
        """Say whether one of Ray's programs runs there."""
        return any(one["role"] == role for one in self.of(cluster))


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """A cluster as it was found.

    `has_head` says whether the head's processes run, `alive` which nodes it counts; None: it does not answer.
    """

    state: ClusterState
    machines: Sequence[MachineStatus]
    has_head: bool
    alive: Sequence[Mapping[str, Any]] | None
    problem: str = ""

    def leftovers(self) -> list[Mapping[str, Any]]:
        """Return the useless processes: all of a cluster without a head, else orphans of runs."""
        everything = [one for machine in self.machines for one in machine.of(self.state.id)]
        return [one for one in everything if one["orphan"] or not self.has_head]


def up(layout: Layout, request: UpRequest, machines: Machines, *, say: Say) -> ClusterState:
    """Start Ray's head here and a node on each host; all have the same code, Python and Ray.

    Raises:
        AdmlopsError: a machine cannot be reached or differs, an address is none of its own, or Ray does not start;
            nothing is left running then.
    """
    here = Host(target="", name=HEAD, checkout=str(layout.root), gpus=request.gpus, cpus=request.cpus)
    if not request.works_here:
        here = replace(here, gpus=0, cpus=0)
    there = [replace(host, checkout=host.checkout or request.checkout or here.checkout) for host in request.hosts]
    if any(host.name == HEAD for host in there):
        raise UsageError(f"{HEAD} is the name of this machine in the cluster", hint="name the host: HOST name=node-1")
    say(f"asking {len(there) + 1} machines what they have")
    hosts = [here, *there]
    found = _for_all(hosts, lambda host: machines.call("describe", {}, **_reach(host)))
    _require_equal(found[0], list(zip(hosts, found, strict=True)))
    addresses = [
        choose_head_address(request.bind, found[0]["addresses"], there),
        *(address_of(host, facts["addresses"], machines) for host, facts in zip(there, found[1:], strict=True)),
    ]
    check_addresses(addresses, hosts, allow_public=request.allow_public)
    nodes = [
        NodeState(
            name=host.name,
            host=_shown(host),
            address=address,
            checkout=str(host.checkout),
            variables=_variables(host),
        )
        for host, address in zip(hosts, addresses, strict=True)
    ]
    state = ClusterState(
        id=secrets.token_hex(4),
        address=f"{bracketed(addresses[0])}:{request.port}",
        ray=found[0]["ray"],
        python=found[0]["python"],
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        nodes=nodes,
    )
    _refuse_second(state)
    write_state(state)  # before anything runs: if this is killed, `status --clean` finds what is left
    try:
        return _start_all(state, hosts, found, request, machines, say=say)
    except BaseException:  # Ctrl-C too: a cluster is there whole or not at all
        _for_all(nodes, lambda node: _end_quietly(node, state.id, machines))
        forget(state.id)
        raise


def status(machines: Machines, states: Iterable[ClusterState]) -> list[ClusterStatus]:
    """Ask every machine of these clusters what runs there, and each head which nodes it counts."""
    return [_status_of(state, machines) for state in states]


def clean(one: ClusterStatus, machines: Machines) -> list[dict[str, Any]]:
    """End the leftovers of a cluster, all of it if its head is gone; returns them by machine.

    Raises:
        EnvError: a process outlives KILL.
    """
    nodes = {machine.node.host: machine.node for machine in one.machines if not machine.problem}
    ended = _for_all(list(nodes.values()), lambda node: _end(node, one.state.id, machines, orphans=one.has_head))
    if not one.has_head and not any(machine.problem for machine in one.machines):
        forget(one.state.id)
    return [entry for entries in ended for entry in entries]


def down(state: ClusterState, machines: Machines, *, force: bool = False) -> list[dict[str, Any]]:
    """End every process of a cluster on all of its machines, the head's last; returns them by machine.

    Args:
        force: forget the cluster even if a machine cannot be reached.

    Raises:
        EnvError: a machine cannot be reached, or a process outlives KILL; the others are ended.
    """
    nodes = {node.host: node for node in reversed(state.nodes)}
    problems: list[str] = []

    def end_one(node: NodeState) -> list[dict[str, Any]]:
        try:
            return _end(node, state.id, machines, orphans=False)
        except AdmlopsError as error:
            problems.append(error.message)
            return []

    others = [node for node in nodes.values() if node.host]
    ended = [*_for_all(others, end_one), *(end_one(node) for node in nodes.values() if not node.host)]
    if problems and not force:
        raise EnvError(
            f"not everything of cluster {state.id} has ended: {'; '.join(problems)}",
            hint=f"admlops cluster down {state.id}   # again when it can be reached; --force forgets it",
        )
    forget(state.id)
    return [entry for entries in ended for entry in entries]


# --- parts of `up`


def _require_equal(first: Mapping[str, Any], all_of_them: Sequence[tuple[Host, Mapping[str, Any]]]) -> None:
    """Require that every machine has the same Python, Ray and code as this one."""
    if first["ray"] is None:
        raise MissingExtraError("admlops cluster", "ray", ImportError(name="ray"))
    hint = "make bootstrap && .venv/bin/uv pip install --no-deps -r install/ray.txt   # there, at this commit"
    for host, facts in all_of_them:
        for key in ("python", "ray"):
            if facts[key] != first[key]:
                raise EnvError(
                    f"{host.name} has {key.capitalize()} {facts[key]}, and this machine {first[key]}: "
                    "Ray wants them equal, to the last number",
                    hint=hint,
                )
        for key, value in first["code"].items():
            if facts["code"].get(key) != value:
                raise EnvError(
                    f"{host.name} has other code in {facts['checkout']}: its {key} is {facts['code'].get(key)}, "
                    f"here {value}",
                    hint="git fetch && git checkout COMMIT   # there, as here",
                )


def _refuse_second(state: ClusterState) -> None:
    taken = next((one for one in read_states() if one.address == state.address), None)
    if taken is not None:
        raise UsageError(
            f"cluster {taken.id} was started at {state.address} already",
            hint=f"admlops cluster down {taken.id}   # or another --port",
        )


def _start_all(
    state: ClusterState,
    hosts: Sequence[Host],
    found: Sequence[Mapping[str, Any]],
    request: UpRequest,
    machines: Machines,
    *,
    say: Say,
) -> ClusterState:
    token = make_token()

    def start(index: int) -> NodeState:
        host, node = hosts[index], state.nodes[index]
        facts = {
            "cluster": state.id,
            "token": token,
            "index": index,
            "port": request.port,
            "head": state.address,
            "address": node.address,
            "name": node.name,
            "gpus": len(found[index]["gpus"]) if host.gpus is None else host.gpus,
            "cpus": found[index]["cpus"] if host.cpus is None else host.cpus,
            "variables": node.variables,
        }
        answer = machines.call("start", facts, **_reach(host))
        say(f"{node.name}: Ray runs at {node.address} ({answer['took_s']:.0f} s)")
        return msgspec.structs.replace(node, pids=[one["pid"] for one in answer["processes"]])

    head = start(0)
    nodes = [head, *_for_all(range(1, len(hosts)), start)]
    done = msgspec.structs.replace(state, nodes=nodes)
    write_state(done)
    return done


def _variables(host: Host) -> dict[str, str]:
    """Return the variables that Ray's processes on a machine get, whatever its shell sets."""
    named = {
        "ADMLOPS_PATH": host.checkout,
        "ADMLOPS_REP_PATH": host.repository or (os.environ.get("ADMLOPS_REP_PATH") if not host.target else None),
        "ADMLOPS_ENVIRONMENTS": host.environments
        or (os.environ.get("ADMLOPS_ENVIRONMENTS") if not host.target else None),
    }
    return {name: value for name, value in named.items() if value}


# --- parts of the others


def _status_of(state: ClusterState, machines: Machines) -> ClusterStatus:
    hosts = {node.host: node for node in reversed(state.nodes)}

    def ask(node: NodeState) -> MachineStatus:
        try:
            answer = machines.call("processes", {}, **_reach_node(node))
        except AdmlopsError as error:
            return MachineStatus(node=node, problem=error.message)
        return MachineStatus(node=node, processes=answer["processes"])

    asked = _for_all(list(hosts.values()), ask)
    head = next(one for one in asked if one.node.host == state.nodes[0].host)
    missing = next((role for role in ("gcs_server", "raylet") if not head.has(state.id, role)), None)
    found = ClusterStatus(state=state, machines=asked, has_head=missing is None, alive=None)
    if missing is not None:
        return replace(found, problem=f"its head does not run ({missing} is gone)")
    try:
        answer = machines.call("nodes", {"address": state.address}, **_reach_node(head.node))
    except AdmlopsError as error:
        return replace(found, problem=f"its head does not answer: {error.message}")
    return replace(found, alive=answer["nodes"])


def _end(node: NodeState, cluster: str, machines: Machines, *, orphans: bool) -> list[dict[str, Any]]:
    answer = machines.call("end", {"cluster": cluster, "orphans": orphans}, **_reach_node(node))
    if answer["left"]:
        raise EnvError(
            f"{node.name}: processes outlive KILL: {', '.join(map(str, answer['left']))}",
            hint="a process can do so only inside the kernel: restart that machine",
        )
    return [{**one, "node": one["node"] or node.name} for one in answer["ended"]]


def _end_quietly(node: NodeState, cluster: str, machines: Machines) -> None:
    try:
        _end(node, cluster, machines, orphans=False)
    except AdmlopsError:
        return  # the error that led here is the one to report


def _reach(host: Host) -> dict[str, Any]:
    return {
        "target": host.target,
        "port": host.port,
        "checkout": str(host.checkout),
        "variables": _variables(host),
    }


def _reach_node(node: NodeState) -> dict[str, Any]:
    target, _, port = node.host.partition(":")
    return {
        "target": target,
        "port": int(port) if port else None,
        "checkout": node.checkout,
        "variables": node.variables,
    }


def _shown(host: Host) -> str:
    return host.target if host.port is None else f"{host.target}:{host.port}"


def _for_all(things: Sequence[Any] | range, work: Callable[[Any], _T]) -> list[_T]:
    """Do the work for all things concurrently; the first error is raised when all have ended."""
    if not things:
        return []
    with ThreadPoolExecutor(max_workers=min(TOGETHER, len(things))) as pool:
        return list(pool.map(work, things))
