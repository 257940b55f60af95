"""The driver's connection to a Ray cluster, and the nodes that it has."""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import MissingExtraError, UsageError
from admlops.execution.cluster.state import find_state, read_states, token_path

LOCK = "install/ray.txt"
ADDRESS = re.compile(r"[0-9A-Za-z.\-]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}")
SETTINGS = {
    # A CPU worker's own variables decide which GPUs it sees, not Ray.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """A live machine of the cluster, and the resources that Ray hands out on it."""

    id: str
    name: str
    address: str
    cpus: int
    gpus: int


def load_ray() -> Any:
    """Import Ray.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError("--executor ray", "ray", error) from error


def connect(address: str | None) -> Any:
    """Connect this process to a cluster, once; returns the module `ray`.

    `address` is `HOST:PORT` of the head; None: the cluster that `admlops cluster up` started from here.

    Raises:
        UsageError: there is no cluster, or it does not answer; or this process is connected to another.
        MissingExtraError: Ray is not installed.
    """
    where = _find_address(address)
    ray = load_ray()
    if ray.is_initialized():
        connected = ray.get_runtime_context().gcs_address
        if connected != where:
            raise UsageError(f"this process uses the cluster {connected}", hint=f"use {where} in a process of its own")
        return ray
    try:
        with _own_signals():
            ray.init(address=where, namespace="admlops", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UsageError(
            f"the cluster {where} cannot be used from here: {reason}",
            hint="admlops cluster status   # RAY_AUTH_TOKEN_PATH names the token of a cluster that others started",
        ) from error
    return ray


def list_nodes(ray: Any) -> list[Node]:
    """Return the nodes that are alive, by their name."""
    found = [_node(one) for one in ray.nodes() if one["Alive"]]
    return sorted(found, key=lambda one: (one.name, one.address))


def list_names(ray: Any) -> set[str]:
    """Return the names and addresses of all nodes that the cluster has had: one that is lost may come back."""
    return {name for one in ray.nodes() for name in (one.get("NodeName"), one["NodeManagerAddress"]) if name}


def _node(facts: Mapping[str, Any]) -> Node:
    resources = facts.get("Resources", {})
    return Node(
        id=facts["NodeID"],
        name=facts.get("NodeName") or facts["NodeManagerAddress"],
        address=facts["NodeManagerAddress"],
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
    )


def _find_address(address: str | None) -> str:
    if address is not None and ADDRESS.fullmatch(address) is None:
        raise UsageError(
            f"--address {address!r} is not HOST:PORT", hint="pass --address 10.0.0.1:6379, or leave it out"
        )
    where = address or find_state().address
    own = next((one for one in read_states() if one.address == where), None)
    if own is not None:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_path(own.id))
    if "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return where


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's own signal handlers: Ray installs some of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
