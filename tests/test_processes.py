"""Programs that are waited for: what they say, who watches them, and that none outlives its time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.core.types import Progress
from admlops.environments.install.python_packages import watch_prefix

WRITER = """
import pathlib, sys, time
size = len(sys.stdin.buffer.read())
pathlib.Path(sys.argv[1]).write_bytes(bytes(5_000_000))
time.sleep(2.5)
print(size, "x" * 300_000)
"""


def test_what_a_watched_program_installs_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    seen: list[Progress] = []
    (tmp_path / "there before").write_bytes(bytes(1_000_000))
    watch = watch_prefix(tmp_path, seen.append)
    ended = run([sys.executable, "-c", WRITER, tmp_path / "written"], timeout_s=30, stdin=bytes(300_000), watch=watch)
    assert ended.returncode == 0
    assert ended.stdout == f"300000 {'x' * 300_000}\n"
    assert 5_000_000 <= seen[-1].done < 5_100_000
    assert [one.phase.partition(", ")[2] for one in seen][:2] == ["installed", "fetched and unpacked"], (
        "it wrote, then not"
    )
    assert {(one.unit, one.total) for one in seen} == {("bytes", None)}


def test_what_has_a_process_group_of_its_own_is_ended_too(tmp_path: Path) -> None:
    """As ninja starts compilers."""
    program = "import subprocess; subprocess.run(['sleep', '61.25'], process_group=0)"
    with pytest.raises(EnvError, match=r"did not end within 1.5 s"):
        run([sys.executable, "-c", program], timeout_s=1.5)
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "61.25"]]


@pytest.mark.parametrize("watched", [False, True])
def test_a_program_that_outlives_its_time_is_gone_with_its_children(watched: bool) -> None:
    marker = f"sleep-{watched}-"
    command = ["bash", "-c", f"exec -a {marker}parent bash -c 'sleep 60 & exec -a {marker}child sleep 61'"]
    with pytest.raises(EnvError, match=r"did not end within 1.5 s"):
        run(command, timeout_s=1.5, watch=(lambda pid: None) if watched else None)
    left = [one.pid for one in psutil.process_iter(["cmdline"]) if marker in " ".join(one.info["cmdline"] or [])]
    assert left == []


def test_the_program_is_looked_up_where_it_will_run() -> None:
    with pytest.raises(EnvError, match="PATH was /nowhere"):
        run(["ls"], timeout_s=5, variables={"PATH": "/nowhere"})
    assert subprocess.run(["ls", "/"], capture_output=True, check=True).stdout


def test_a_killed_data_synthesis_leaves_no_process(tmp_path: Path) -> None:
    """Its scenes are drawn by processes of their own, which nobody waits for any more."""
    options = ("--scenes", "4", "--samples", "40", "--workers", "2")
    command = [sys.executable, "-m", "admlops", "data", "synthesize", str(tmp_path / "data"), *options]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent = psutil.Process(started.pid)
    deadline = time.monotonic() + 60
    while not (drawing := [one for one in parent.children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]):
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.05)
    time.sleep(1)  # until they have asked the kernel
    drawing = parent.children(recursive=True)
    started.kill()
    started.wait()
    _, left = psutil.wait_procs(drawing, timeout=10)
    assert left == []
