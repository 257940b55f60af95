"""Runs that survive their terminal: `--detach` and `admlops attach`, with real processes, terminals and signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.pipeline.test_run_images import Pod, ppm

GATE = """
import time
from pathlib import Path

class Waiting(Red):
    def forward(self, inputs):
        gate = Path(__file__).parents[3] / "gate"
        if gate.exists():
            (gate / "met").touch()
        while gate.exists():
            time.sleep(0.01)
        return super().forward(inputs)
"""


class Terminal:
    """A shell's place: a pseudo-terminal whose end is a connection's end."""

    def __init__(self, pod: Pod, *words: str | Path) -> None:
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "admlops", *map(str, words)], pod.variables)

    def read_until(self, words: str) -> str:
        said = b""
        while words.encode() not in said:
            try:
                new = os.read(self.end, 10_000)
            except OSError:
                new = b""
            assert new, said.decode()
            said += new
        return said.decode()

    def close(self) -> int:
        """Lose the connection: what was started here gets HUP."""
        os.close(self.end)
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Pod:
    """A checkout whose model waits while the folder `gate` is there."""
    pod = Pod(tmp_path_factory.mktemp("pod"))
    program = pod.folder / "checkout" / "envs" / "Red" / "demo.py"
    body, _, end = program.read_text().partition('if __name__ == "__main__":')
    program.write_text(body + GATE + '\nif __name__ == "__main__":' + end.replace("main(Red)", "main(Waiting)"))
    return pod


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        (folder / f"{number}.ppm").write_bytes(ppm((2, 3, 12, 9)))
    return folder


@pytest.fixture
def gate(pod: Pod) -> Iterator[Path]:
    """Keeps samples waiting until it is removed; `met` in it says that one does."""
    folder = pod.folder / "gate"
    folder.mkdir()
    yield folder
    open_gate(folder)


def open_gate(gate: Path) -> None:
    if gate.exists():
        (gate / "met").unlink(missing_ok=True)
        gate.rename(gate.with_name(f"open-{time.monotonic_ns()}"))


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(pod: Pod, data: Path, name: str, *more: str) -> dict[str, Any]:
    """Start a detached run; return what it says of itself."""
    said = pod.admlops("run", "Red", "--data", data, "--run", name, "--detach", "--json", *more)
    facts: dict[str, Any] = json.loads(said.stdout)
    return facts


def attach(pod: Pod, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "admlops", "attach", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=pod.variables,
    )


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert line, words


def state_of(pod: Pod, name: str) -> str:
    listed = json.loads(pod.admlops("results", "list", "--json").stdout)["runs"]
    return next(str(run["state"]) for run in listed if run["run"] == name)


def test_it_returns_once_the_run_has_begun_and_everyone_who_attaches_sees_its_end(
    pod: Pod, data: Path, gate: Path
) -> None:
    facts = start(pod, data, "watched")
    assert Path(facts["folder"], "run.json").exists()
    assert os.getsid(facts["pid"]) != os.getsid(0)
    assert (facts["attach"], facts["stop"]) == ("admlops attach watched", "admlops attach watched --stop")
    assert state_of(pod, "watched") == "running"
    both = [attach(pod, "watched"), attach(pod, facts["folder"])]
    for one in both:
        read_until(one, f"runs as process {facts['pid']}")
    open_gate(gate)
    for one in both:
        said, logged = one.communicate(timeout=120)
        assert one.returncode == 0, logged
        assert "2/2 samples" in logged
        assert json.loads(said)["state"] == "complete"
    assert state_of(pod, "watched") == "complete"
    later = pod.admlops("attach", "watched", "--json")
    assert json.loads(later.stdout) | {"output": "", "log": ""} == {
        "run": "watched", "folder": facts["folder"], "state": "complete",
        "exit_code": 0, "signal": None, "output": "", "log": "",
    }  # fmt: skip


def test_the_end_of_the_terminal_is_not_the_end_of_the_run(pod: Pod, data: Path, gate: Path) -> None:
    terminal = Terminal(pod, "run", "Red", "--data", data, "--run", "hung-up", "--detach")
    said = terminal.read_until("--stop")
    assert "admlops attach hung-up" in said
    terminal.close()
    watching = Terminal(pod, "attach", "hung-up")
    watching.read_until("runs as process")
    assert os.WTERMSIG(watching.close()) == signal.SIGHUP
    assert state_of(pod, "hung-up") == "running"
    open_gate(gate)
    done = pod.admlops("attach", "hung-up")
    assert "hung-up: complete, 2 samples ok, 0 failed" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_watches_may_go(number: int, pod: Pod, data: Path, gate: Path) -> None:
    name = f"left-{int(number)}"
    start(pod, data, name)
    watching = attach(pod, name)
    read_until(watching, "runs as process")
    watching.send_signal(number)
    _, logged = watching.communicate(timeout=60)
    if number == signal.SIGINT:
        assert watching.returncode == 130
        assert f"{name} goes on without you\n  → admlops attach {name}   # --stop ends the run" in logged
    assert state_of(pod, name) == "running"
    open_gate(gate)
    assert pod.admlops("attach", name).returncode == 0


def test_stop_ends_it_as_ctrl_c_does(pod: Pod, data: Path, gate: Path) -> None:
    start(pod, data, "stopped")
    wait_until((gate / "met").exists)
    planned = pod.admlops("attach", "stopped", "--stop", "--dry-run")
    assert "would stop stopped: process " in planned.stdout
    assert state_of(pod, "stopped") == "running"
    watching = attach(pod, "stopped")
    read_until(watching, "runs as process")
    done = pod.admlops("attach", "stopped", "--stop", "--json")
    facts = json.loads(done.stdout)
    assert (facts["state"], facts["exit_code"], facts["signal"]) == ("cancelled", 130, None)
    assert "stopped was stopped" in done.stderr
    watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert state_of(pod, "stopped") == "cancelled"
    assert "stopped had ended before" in pod.admlops("attach", "stopped", "--stop").stderr
    open_gate(gate)
    resumed = start(pod, data, "stopped", "--resume")
    assert pod.admlops("attach", "stopped").returncode == 0, resumed
    assert state_of(pod, "stopped") == "complete"


def test_a_run_that_is_killed_is_told_so_with_its_exit_code(pod: Pod, data: Path, gate: Path) -> None:
    facts = start(pod, data, "killed")
    watching = attach(pod, "killed")
    read_until(watching, "runs as process")
    os.kill(facts["pid"], signal.SIGKILL)
    _, logged = watching.communicate(timeout=60)
    assert watching.returncode == 128 + signal.SIGKILL
    assert "killed was killed by SIGKILL" in logged
    assert "--run killed --detach --json --resume" in logged
    assert state_of(pod, "killed") == "stopped"
    assert json.loads(pod.admlops("attach", "killed", "--json", code=137).stdout)["signal"] == "SIGKILL"


def test_without_its_supervisor_it_goes_on_and_a_process_that_got_its_id_is_not_trusted(
    pod: Pod, data: Path, gate: Path
) -> None:
    facts = start(pod, data, "alone")
    folder = Path(facts["log"]).parent
    supervisor = psutil.Process(facts["pid"]).parent()
    assert supervisor is not None
    supervisor.kill()
    wait_until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    assert state_of(pod, "alone") == "running"
    processes = json.loads((folder / "process.json").read_text())
    pid, started = processes["command"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid))
    done = pod.admlops("attach", "alone", code=1)
    assert "nobody was left to write down how" in done.stderr
    ours = psutil.Process()
    (folder / "process.json").write_text(json.dumps({**processes, "command": [ours.pid, started]}))
    assert "alone had ended before" in pod.admlops("attach", "alone", "--stop").stderr


def test_what_fails_before_it_begins_is_told_at_once(pod: Pod, data: Path, tmp_path: Path) -> None:
    refused = pod.admlops("run", "Red", "--data", data, "--run", "never", "--limit", "0", "--detach", code=2)
    assert "→" in refused.stderr
    none = pod.admlops("run", "Red", "--data", data, "--split", "nonsense", "--run", "never", "--detach", code=2)
    assert "nonsense" in none.stderr
    assert not pod.run_folder("never").exists()
    planned = pod.admlops("run", "Red", "--data", data, "--run", "never", "--detach", "--dry-run")
    assert "would" in planned.stdout
    assert not pod.run_folder("never").exists()


def test_a_run_in_a_terminal_is_watched_by_its_files_and_not_stopped(pod: Pod, data: Path, gate: Path) -> None:
    command = [sys.executable, "-m", "admlops", "run", "Red", "--data", str(data), "--run", "plain"]
    run = subprocess.Popen(command, env=pod.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until((gate / "met").exists)
    watching = attach(pod, "plain")
    read_until(watching, "plain runs elsewhere: 0/2 samples")
    refused = pod.admlops("attach", "plain", "--stop", code=2)
    assert "was not started with --detach" in refused.stderr
    open_gate(gate)
    said, _ = watching.communicate(timeout=60)
    assert (run.wait(timeout=60), watching.returncode) == (0, 0)
    assert "plain: complete, 2 samples ok, 0 failed" in said
    assert "does not run: it is complete" in pod.admlops("attach", "plain", "--stop", code=2).stderr
    assert "no run is called" in pod.admlops("attach", "nothing", code=2).stderr


def test_a_comparison_is_detached_too(pod: Pod, data: Path, gate: Path, tmp_path: Path) -> None:
    words = ("compare", "--models", "Red", "--data", data, "--out", tmp_path / "out", "--fresh", "--detach", "--json")
    facts = json.loads(pod.admlops(*words).stdout)
    assert state_of(pod, facts["run"]) == "running"
    open_gate(gate)
    done = pod.admlops("attach", facts["run"])
    assert json.loads(done.stdout)["models"][0]["model"] == "Red"
    assert (tmp_path / "out" / "report.html").exists()
