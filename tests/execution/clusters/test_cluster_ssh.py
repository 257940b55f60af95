"""`admlops cluster` over a real sshd: two hosts at loopback addresses, started, looked at, ended."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.execution.clusters.nodes import own_address, why_not

from admlops.core.paths import find_layout
from admlops.execution.cluster.marks import MarkedProcess, find_marked

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SSHD = shutil.which("sshd", path=PATH)
REASON = why_not() or ("" if SSHD else "needs sshd: apt-get install openssh-server")
pytestmark = [pytest.mark.full, pytest.mark.timeout(900), pytest.mark.skipif(bool(REASON), reason=REASON)]

SERVER = """
Port {port}
ListenAddress 127.0.0.2
ListenAddress 127.0.0.3
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv XDG_STATE_HOME={folder}/there ADMLOPS_REP_PATH={folder}/repository
"""
CLIENT = """
Host *
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
  Port {port}
Host pod-1
  HostName 127.0.0.2
Host pod-2
  HostName 127.0.0.3
Host gone
  HostName 127.0.0.4
"""


@dataclass(frozen=True)
class Lab:
    """Two hosts behind one sshd, and whoever types commands."""

    folder: Path
    port: int

    def command(self, *words: str) -> list[str]:
        """The words of a command of `admlops cluster`."""
        return [
            sys.executable,
            "-m",
            "admlops",
            "cluster",
            words[0],
            "--ssh-config",
            f"{self.folder}/client",
            *words[1:],
        ]

    @property
    def variables(self) -> dict[str, str]:
        repository = str(self.folder / "repository")
        return {**os.environ, "XDG_STATE_HOME": str(self.folder / "here"), "ADMLOPS_REP_PATH": repository}

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type one."""
        return subprocess.run(
            self.command(*words), env=self.variables, capture_output=True, text=True, check=False, timeout=600
        )

    def processes(self) -> list[MarkedProcess]:
        """All that runs of clusters that were started here."""
        tokens = self.folder.glob("*/admlops/clusters/*/token")
        return find_marked({path.parent.name for path in tokens} | self.seen())

    def seen(self) -> set[str]:
        """The clusters whose processes have this lab's folder for their state."""
        found = set()
        for one in find_marked():
            try:
                content = Path(f"/proc/{one.pid}/environ").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in content:
                found.add(one.cluster)
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "repository").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = int(probe.getsockname()[1])
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "server").write_text(SERVER.format(folder=folder, port=port))
    (folder / "client").write_text(CLIENT.format(folder=folder, port=port))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-f", folder / "server", "-E", folder / "log"])
    try:
        one = Lab(folder, port)
        deadline = time.monotonic() + 60
        while subprocess.run(["ssh", "-F", folder / "client", "pod-1", "true"], check=False).returncode:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield one
        assert one.processes() == []
    finally:
        for left in Lab(folder, port).processes():
            os.kill(left.pid, signal.SIGKILL)
        server.terminate()
        server.wait()


def test_up_status_down(lab: Lab) -> None:
    hosts = lab.folder / "hosts"
    user = getpass.getuser()
    hosts.write_text(f"{user}@pod-1  cpus=1 gpus=0\n{user}@pod-2 name=second cpus=1 gpus=0\n")
    done = lab.type("up", str(hosts), "--no-work-here", "--bind", own_address(), "--port", str(lab.port + 1), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [node["name"] for node in made["nodes"]] == ["head", "pod-1", "second"]
    assert [node["address"] for node in made["nodes"]] == [own_address(), "127.0.0.2", "127.0.0.3"]
    assert {one.cluster for one in lab.processes()} == {made["cluster"]}
    for where in ("here", "there"):
        token = lab.folder / where / "admlops" / "clusters" / made["cluster"] / "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text() not in done.stdout + done.stderr
        assert not any(token.read_bytes() in Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in lab.processes())

    twice = lab.type("up", f"{user}@pod-1", "--bind", own_address(), "--port", str(lab.port + 1))
    assert twice.returncode == 2
    assert f"cluster {made['cluster']} was started at" in twice.stderr

    shown = json.loads(lab.type("status", "--json").stdout)["clusters"][0]
    assert shown["up"] is True
    assert [(one["name"], one["cpus"], one["gpus"]) for one in shown["alive"]] == [
        ("head", 0, 0),
        ("pod-1", 1, 0),
        ("second", 1, 0),
    ]
    assert shown["leftovers"] == []

    ended = lab.type("down")
    assert ended.returncode == 0, ended.stderr
    assert lab.processes() == []
    assert list(lab.folder.glob("*/admlops/clusters/*")) == []
    assert list(Path("/tmp").glob(f"admlops-ray-{made['cluster']}-*")) == []


def test_a_host_that_cannot_be_reached_starts_nothing(lab: Lab) -> None:
    refused = lab.type("up", "pod-1", "gone")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "gone cannot be reached by ssh" in refused.stderr
    assert lab.processes() == []
    elsewhere = lab.type("up", "pod-1", "--checkout", "/nowhere")
    assert (elsewhere.returncode, "has no admlops in /nowhere" in elsewhere.stderr) == (2, True), elsewhere.stderr


def test_ctrl_c_in_the_middle_leaves_nothing(lab: Lab) -> None:
    process = subprocess.Popen(
        lab.command("up", "pod-1", "--bind", own_address(), "--port", str(lab.port + 2)),
        env=lab.variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not any(one.role == "gcs_server" for one in lab.processes()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    deadline = time.monotonic() + 60
    while lab.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert lab.processes() == []
    assert list((lab.folder / "here").glob("admlops/clusters/*")) == []


def test_the_checkout_is_the_same_on_all_machines(lab: Lab) -> None:
    """The hosts ran this checkout's own Python: else the tests above would show another's."""
    said = subprocess.run(
        ["ssh", "-F", lab.folder / "client", "pod-2", f"{find_layout().root}/.venv/bin/python -V"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split()[1] == sys.version.split()[0]
