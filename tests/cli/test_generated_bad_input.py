"""Nine hundred wrong command lines: each is answered in words, with the right exit code, and damages nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.cli.command_cases import LOOKS, Case, Places
from tests.cli.forked_command import Command, Ended, ForkedCommands
from tests.cli.wrong_commands import Generator
from tests.evaluation.oracle_records import truth_record
from tests.evaluation.test_evaluate import make_run
from tests.fabricated_nuscenes import VERSION, write_map, write_tables

from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.tables import NuScenes

CASES = 960
SEED = 20_261
CHUNKS = 12
QUICK_CHUNKS = 3
"""So many of the chunks are asked in the quick tests."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Sandbox:
    """A checkout with a data set, a run and nothing built, apart from all that is real."""

    root: Path
    places: Places
    admlops: ForkedCommands
    variables: dict[str, str]

    def state(self) -> dict[str, tuple[int, int]]:
        """Every file and folder of it, with size and time."""
        found = {}
        for folder, names, files in os.walk(self.root):
            for name in (*names, *files):
                status = (Path(folder) / name).lstat()
                found[f"{folder}/{name}"] = (status.st_mode, status.st_size if name in files else 0)
        return found


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    root = tmp_path_factory.mktemp("sandbox")
    real = find_layout().root
    (root / "checkout").mkdir()
    shutil.copytree(real / "envs", root / "checkout" / "envs", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "checkout" / "runners").symlink_to(real / "runners")
    shutil.copy(real / ".gitmodules", root / "checkout")
    data = NuScenes(write_tables(root / "data"), VERSION)
    write_map(data.root)
    records = [truth_record(data, token) for scene in data.scenes() for token in scene.samples]
    run = make_run(root / "repository" / "runs" / "r", data, records)
    header = run.path / "run.json"
    header.write_text(header.read_text().replace('"Oracle"', '"GroundPlane"'))
    places = Places(
        data=data.root,
        file=root / "notes.txt",
        folder=root / "folder",
        locked=root / "locked",
        read_only=root / "read-only",
        checkpoint=root / "weights.pth",
    )
    places.file.write_text("a line\n")
    places.folder.mkdir()
    places.locked.mkdir(mode=0o000)
    places.read_only.mkdir(mode=0o555)
    places.checkpoint.write_bytes(b"no checkpoint")
    (root / "home").mkdir()
    variables = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TMPDIR"}},
        "ADMLOPS_PATH": str(root / "checkout"),
        "ADMLOPS_REP_PATH": str(root / "repository"),
        "ADMLOPS_ENVIRONMENTS": str(root / "environments"),
        "HOME": str(root / "home"),
        "COLUMNS": "200",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(real),
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    }
    with ForkedCommands(variables) as admlops:
        admlops.run(Command(words=("--help",)))  # imports may leave caches
        yield Sandbox(root, places, admlops, variables)
    places.locked.chmod(0o700)
    places.read_only.chmod(0o700)


@pytest.fixture(scope="module")
def cases(sandbox: Sandbox) -> list[Case]:
    return Generator(sandbox.places, SEED).cases(CASES)


@pytest.mark.parametrize(
    "chunk", [pytest.param(chunk, marks=() if chunk < QUICK_CHUNKS else pytest.mark.full) for chunk in range(CHUNKS)]
)
def test_every_wrong_command_is_answered_and_damages_nothing(sandbox: Sandbox, cases: list[Case], chunk: int) -> None:
    size = CASES // CHUNKS
    wrong: list[str] = []
    before = sandbox.state()
    for case in cases[chunk * size : (chunk + 1) * size]:
        ended = sandbox.admlops.run(replace(case.command, cwd=str(sandbox.places.folder)))
        after = sandbox.state()
        told = [*complaints(case, ended)]
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        if changed and ended.code == 2:
            told.append(f"it left or changed {changed[:5]}")
        before = after
        wrong += [f"{case.mistake}: {one}\n$ {case.spelled()}\n[{ended.code}] {ended.stderr[-1500:]}" for one in told]
    assert not wrong, "\n\n".join(wrong)


def complaints(case: Case, ended: Ended) -> Iterator[str]:
    said = ended.stdout + ended.stderr
    if "Traceback" in said or "Exception ignored" in said:
        yield "a traceback"
    if ended.code not in case.codes:
        yield f"exit code {ended.code}, not {sorted(case.codes)}"
    if CONTROL.search(said):
        yield "control characters of the input reach the terminal"
    if case.command.stderr != "file":
        return
    if ended.code == 2 and "→" not in said.replace("\\u2192", "→").replace("?", "→") and "--help" not in said:
        yield "no next command"
    if case.named and not any(word and word in said for word in case.named):
        yield f"none of {case.named} is named"


def _is_alike(case: Case, places: Places) -> bool:
    """Tell whether a case ends alike however it is started: root may write where forked commands may not."""
    refused = (str(places.locked), str(places.read_only))
    by_right = os.geteuid() == 0 and any(word.startswith(refused) for word in case.command.words)
    return case.command.stdin == "null" and not case.command.signal and not by_right


@pytest.mark.parametrize("number", range(0, CASES, CASES // 6))
def test_a_forked_command_is_the_command(sandbox: Sandbox, cases: list[Case], number: int) -> None:
    """Exit code and words are those of a process of its own."""
    case = next(one for one in cases[number:] if _is_alike(one, sandbox.places))
    case = replace(case, command=replace(case.command, stdout="file", stderr="file", cwd=str(sandbox.places.folder)))
    forked = sandbox.admlops.run(case.command)
    changed = {**sandbox.variables, **case.command.variables}
    real = subprocess.run(
        [Path(sys.executable).with_name("admlops"), *case.command.words],
        env={name: value for name, value in changed.items() if value is not None},
        cwd=case.command.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert real.returncode == forked.code, case.spelled()
    assert real.stderr.decode("utf-8", "backslashreplace") == forked.stderr, case.spelled()
    assert real.stdout.decode("utf-8", "backslashreplace") == forked.stdout, case.spelled()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["click", "admlops.cli.streams", "admlops.cli.models", "admlops.catalog"])
def test_a_signal_while_the_program_is_read_leaves_no_traceback(number: int, module: str) -> None:
    code = f"""if True:
        import os, sys
        class Finder:
            def find_spec(name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), {int(number)})
        sys.meta_path.insert(0, Finder)
        from admlops.cli.start import start
        sys.argv = ["admlops", "models", "list"]
        start()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) in {(-number, ""), (130, "\nadmlops: stopped\n"), (130, "admlops: stopped\n")}
    assert done.stdout == ""


def test_there_is_a_mistake_for_every_command_and_option(cases: list[Case], sandbox: Sandbox) -> None:
    commands = Generator(sandbox.places, SEED).commands
    drawn = {case.command.words for case in cases}
    assert all(any(words[: len(path)] == path for words in drawn) for path in commands)
    assert len(cases) == CASES
    assert len({case.spelled() for case in cases}) >= 0.75 * CASES
    assert {case.command.words for case in cases if case.command.words in LOOKS}


def test_what_a_command_gets_it_gives_back(sandbox: Sandbox) -> None:
    """A case that cannot fail would be worth nothing: the harness sees a full stream and a wrong code."""
    assert sandbox.admlops.run(Command(words=("models", "list"))).code == 0
    ended = sandbox.admlops.run(Command(words=("models", "list"), stdout="full"))
    assert ended.code == 2
    case = Case(command=Command(words=("models", "list")), mistake="none", named=("never said",))
    assert list(complaints(case, sandbox.admlops.run(case.command))) != []
