"""A PostgreSQL of the tests' own: its files in a temporary folder, reached by a socket there."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"
START_S = 60.0


def find_binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`: of the newest version that Debian installed, or on PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    named = shutil.which("initdb")
    return None if named is None else Path(named).parent


class Cluster:
    """A server that runs. `create` makes an empty database in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def create(self) -> str:
        """Make an empty database and return its address."""
        import psycopg

        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def cut_connections(self) -> None:
        """End all connections but one's own, as a server that restarts does."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = %s",
                (USER,),
            )


@contextmanager
def start_postgresql() -> Iterator[Cluster]:
    """Start a server of this machine's PostgreSQL; skip where there is none."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL: apt-get install -y postgresql")
    folder = Path(tempfile.mkdtemp(prefix="admlops-pg-", dir="/tmp"))  # short: a socket's path takes 107 characters
    as_user = []
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        shutil.chown(folder, USER, USER)
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    data = folder / "data"
    initialise = [*as_user, binaries / "initdb", "-D", data, "-U", USER, "--auth=trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*map(str, initialise), "--locale=C"], check=True, capture_output=True, cwd="/")
    options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "max_connections": 200}
    serve = [*as_user, "setpriv", "--pdeathsig", "INT", "--", binaries / "postgres", "-D", data]
    serve += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log, subprocess.Popen([*map(str, serve)], stderr=log, cwd="/") as server:
        try:
            cluster = Cluster(folder)
            _wait_for(cluster, server)
            yield cluster
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(timeout=START_S)
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(cluster: Cluster, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(cluster.url("postgres")).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
