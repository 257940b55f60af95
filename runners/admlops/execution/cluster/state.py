"""What is known of the clusters that were started from this machine: a folder each, with the state and the token.

`$XDG_STATE_HOME/admlops/clusters/<id>/cluster.json` and `token`, both readable by their owner alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from admlops.core.errors import StorageError, UsageError
from admlops.core.paths import home_folder
from admlops.core.storage import explain_os_error, write_atomically

STATE_FILE, TOKEN_FILE = "cluster.json", "token"
SCHEMA = 1


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """One machine of a cluster.

    `host` is what ssh is given, empty for the machine where the cluster was started; `address` its IP address in the
    cluster; `checkout` its admlops; `pids` are Ray's processes that were started there.
    """

    name: str
    host: str
    address: str
    checkout: str
    variables: dict[str, str] = {}
    pids: list[int] = []


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster: `id` is the mark of its processes, `address` where Ray's head listens, the first node is the head."""

    id: str
    address: str
    ray: str
    python: str
    created: str
    nodes: list[NodeState]
    schema: int = SCHEMA


def clusters_folder() -> Path:
    """Return the folder of all clusters' states."""
    named = os.environ.get("XDG_STATE_HOME", "")
    above = Path(named) if Path(named).is_absolute() else home_folder() / ".local" / "state"
    return above / "admlops" / "clusters"


def token_path(cluster: str) -> Path:
    """Return the path of a cluster's token on this machine."""
    return clusters_folder() / cluster / TOKEN_FILE


def write_token(cluster: str, token: str) -> Path:
    """Write a cluster's token, for its owner alone. Raises StorageError."""
    path = token_path(cluster)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
    except OSError as error:
        raise explain_os_error(error, path) from error
    return path


def make_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_hex(32)


def write_state(state: ClusterState) -> Path:
    """Write a cluster's state. Raises StorageError."""
    path = clusters_folder() / state.id / STATE_FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
    return path


def read_states() -> list[ClusterState]:
    """Return the clusters that were started from here and not ended, the newest last."""
    return sorted(_read_all(), key=lambda one: one.created)


def forget(cluster: str) -> None:
    """Remove what this machine keeps of a cluster."""
    shutil.rmtree(clusters_folder() / cluster, ignore_errors=True)


def find_state(cluster: str | None = None) -> ClusterState:
    """Return the cluster of this id or address, or the only one.

    Raises:
        UsageError: there is none, or more than one to choose from.
    """
    states = read_states()
    chosen = [one for one in states if cluster in (None, one.id, one.address)]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        what = "no cluster was started from here" if cluster is None else f"there is no cluster {cluster!r}"
        raise UsageError(what, hint="admlops cluster up HOST…   # admlops cluster status lists those that there are")
    names = ", ".join(f"{one.id} ({one.address})" for one in chosen)
    raise UsageError(f"there is more than one cluster: {names}", hint=f"name one of them: {chosen[-1].id}")


def _read_all() -> Iterator[ClusterState]:
    for path in clusters_folder().glob(f"*/{STATE_FILE}"):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=ClusterState)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(
                f"{path} cannot be read: {error}", hint=f"rm -r {path.parent}   # then: admlops cluster status --clean"
            ) from error
