"""A forked `python -m admlops` is the process that a real start would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from tests.forked_starts import SWITCH, ForkServer, forked_starts, started_for_real

pytestmark = pytest.mark.skipif(bool(os.environ.get(SWITCH)), reason=f"{SWITCH} is set: nothing is forked")

PROGRAM = """
import atexit, json, os, resource, signal, sys, tempfile, threading
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
parent = os.getppid()
begun = threading.Event()
def late():
    begun.wait()
    print("a thread goes on")
threading.Thread(target=late).start()
atexit.register(print, "the end")
print(json.dumps({
    "parent": parent, "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
    "follows": [os.getpgid(0) == os.getpgid(parent), os.getsid(0) == os.getsid(parent)],
    "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:4], "cwd": os.getcwd(),
    "variables": dict(os.environ), "path": sys.path, "argv": sys.argv, "orig_argv": sys.orig_argv,
    "flags": str(sys.flags), "main": [__name__, __file__, __spec__.name, sys.modules["__main__"].__dict__ is globals()],
    "streams": [[each.encoding, each.errors, each.line_buffering, each.name, each.mode, each.isatty(), each.newlines,
                 each.write_through, type(each.buffer).__name__, each.buffer.name]
                for each in (sys.stdin, sys.stdout, sys.stderr)],
    "status": [status[name].strip() for name in ("Umask", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs")],
    "handlers": [str(signal.getsignal(number)).partition(" at ")[0] for number in (2, 13, 15, 25)],
    "limits": [resource.getrlimit(number) for number in range(16)], "said": sys.stdin.read(),
    "temporary": tempfile.gettempdir(), "nice": os.nice(0), "cpus": sorted(os.sched_getaffinity(0)),
}))
begun.set()
"""
ENDS = {
    "falls off the end": "print(1)",
    "a code": "raise SystemExit(3)",
    "a large code": "raise SystemExit(259)",
    "no code": "raise SystemExit",
    "words": "print('first'); raise SystemExit('words')",
    "an exception": "def f(): raise ValueError('wrong')\nf()",
    "an interrupt": "raise KeyboardInterrupt",
    "a signal": "import os; os.kill(os.getpid(), 15)",
    "a crash": "import os; os.abort()",
    "a full disk": "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('words')",
    "no standard output": "import os; print('lost'); os.close(1)",
    "an error at the end": "import atexit\nclass Late:\n  def __repr__(self): return 'late'\n"
    "  def __call__(self): raise ValueError('late')\natexit.register(Late())\nprint('early')",
    "a reader that is gone": "import os; a, b = os.pipe(); os.close(a); os.dup2(b, 1); print('words')",
    "other random numbers": "import random, tempfile, pathlib; pathlib.Path('numbers').open('a').write(\n"
    "    str(random.random()) + next(tempfile._get_candidate_names()) + '\\n')",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """A server that forks other modules too."""
    with forked_starts(("admlops", "program")) as server:
        yield server


def both_ways(server: ForkServer, *command: str | Path, **options: Any) -> list[tuple[int, Any, Any]]:
    """Run `python -m ...` forked, then for real: exit code, standard output, standard error."""
    ended = []
    for forks, context in ((1, nullcontext()), (0, started_for_real())):
        before = server.forks
        with context:
            given: dict[str, Any] = {"input": b"", "capture_output": True, "check": False, "timeout": 120} | options
            done = subprocess.run([sys.executable, "-m", *command], **given)
        assert server.forks - before == forks
        ended.append((done.returncode, done.stdout, done.stderr))
    return ended


@pytest.mark.parametrize(
    "words",
    [
        "--version",
        "models list",
        "models show MapTR --json",
        "nonsense",
        "run --help",
        "run GroundPlane --data /nowhere --json",
        "results list",
        "doctor /etc/hostname",
        "env list",
    ],
)
def test_what_the_command_says_and_its_exit_code(words: str, server: ForkServer, tmp_path: Path) -> None:
    variables = {**os.environ, "ADMLOPS_REP_PATH": str(tmp_path), "COLUMNS": "120"}
    forked, real = both_ways(server, "admlops", *words.split(), env=variables, cwd=tmp_path)
    assert forked == real
    assert real[1] or real[2]


@pytest.mark.parametrize("options", [{}, {"start_new_session": True}, {"umask": 0o77}], ids=str)
def test_what_the_program_finds(options: dict[str, Any], server: ForkServer, tmp_path: Path) -> None:
    """Its parent, groups, descriptors, folder, words, variables, signals, limits and streams."""
    (tmp_path / "program.py").write_text(PROGRAM)
    variables = {"HOME": "/root", "WITH\udcff": "\udcfeé", **{n: v for n, v in os.environ.items() if n != "COLUMNS"}}
    command = ["program", "a b", "\udcfe", ""]
    said = "wörds\r\n".encode()
    forked, real = both_ways(server, *command, cwd=tmp_path, env=variables, input=said, **options)
    assert forked == real
    assert real[0] == 0
    facts, *rest = real[1].decode().splitlines()
    assert rest == ["a thread goes on", "the end"]
    assert json.loads(facts)["parent"] == os.getpid()
    assert json.loads(facts)["leads"][1] == bool(options.get("start_new_session"))


@pytest.mark.parametrize("end", ENDS)
def test_how_the_program_ends(end: str, server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(ENDS[end])
    forked, real = both_ways(server, "program", cwd=tmp_path)
    assert forked == real
    if (tmp_path / "numbers").exists():
        assert len(set((tmp_path / "numbers").read_text().split())) == 2


def test_a_terminal_is_one(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import os, sys; print(os.ttyname(1), sys.stdout.line_buffering)")
    ours, theirs = os.openpty()
    both_ways(server, "program", cwd=tmp_path, capture_output=False, stdout=theirs)
    said = os.read(ours, 1000).decode().splitlines()
    os.close(ours)
    os.close(theirs)
    assert said[0] == said[1]
    assert said[0].startswith("/dev/pts/")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_once_ends_it(number: int, server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import time; time.sleep(60)")
    before = server.forks
    process = subprocess.Popen([sys.executable, "-m", "program"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    process.send_signal(number)
    assert process.wait(timeout=60) == -number
    assert server.forks == before + 1


def test_it_is_this_process_that_waits_for_it(server: ForkServer, tmp_path: Path) -> None:
    """A time limit kills it, and threads start and await their own."""
    (tmp_path / "program.py").write_text(
        "import sys, time; print(sys.argv[1], flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-m", "program"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*command, "x", "60"], cwd=tmp_path, timeout=0.5, check=False)
    said: dict[int, bytes] = {}

    def ask(number: int) -> None:
        said[number] = subprocess.run(
            [*command, str(number), "0.1"], cwd=tmp_path, capture_output=True, check=True
        ).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: f"{number}\n".encode() for number in range(8)}


@pytest.mark.parametrize(
    "options",
    [
        {"env": {**os.environ, "PYTHONWARNINGS": "ignore::SyntaxWarning"}},
        {"env": {**os.environ, "LC_ALL": "C"}},
        {"env": {**os.environ, "LOG_LEVEL": "debug"}},
        {"pass_fds": (0,)},
        {"close_fds": False},
        {"preexec_fn": os.getpid},
        {"process_group": 0},
        {"executable": sys.executable},
        {"cwd": Path(__file__).parents[1] / "runners"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_a_fork_cannot_be_is_started(options: dict[str, Any], server: ForkServer) -> None:
    before = server.forks
    done = subprocess.run([sys.executable, "-m", "admlops", "--version"], check=True, capture_output=True, **options)
    assert done.stdout.startswith(b"admlops")
    assert server.forks == before


def test_a_folder_that_is_not_there(server: ForkServer) -> None:
    for context in (nullcontext(), started_for_real()):
        with context, pytest.raises(FileNotFoundError, match="/nowhere"):
            subprocess.run([sys.executable, "-m", "admlops"], cwd="/nowhere", check=False)
    assert server
