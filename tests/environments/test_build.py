"""Building environments: real interpreters, real locks, interrupted and broken builds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from admlops.core.errors import EnvError, StorageError
from admlops.core.paths import Layout, find_layout
from admlops.core.processes import run
from admlops.core.types import Progress
from admlops.environments import Environment, EnvironmentSpec, ensure
from admlops.environments.install.preflight import RESERVE_BYTES
from admlops.environments.install.uv import uv_settings
from admlops.environments.prefix import STATE_FILE
from admlops.environments.spec.interpreter import find_interpreter


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")


@pytest.fixture
def spec(tmp_path: Path) -> EnvironmentSpec:
    """One small package, click, as the host's own lock has it."""
    lock = (find_layout().root / "requirements.txt").read_text()
    entry = re.search(r"^click==.*?(?=^\S)", lock, re.DOTALL | re.MULTILINE)
    assert entry is not None
    path = tmp_path / "requirements.txt"
    path.write_text(entry.group(0))
    return EnvironmentSpec(name="Small-modern", python=">=3.11", requirements=(path,))


@pytest.fixture
def empty_spec(tmp_path: Path) -> EnvironmentSpec:
    path = tmp_path / "empty.txt"
    path.write_text("# no packages\n")
    return EnvironmentSpec(name="Empty-modern", python=">=3.11", requirements=(path,))


def state_of(environment: Environment) -> dict[str, object]:
    content: dict[str, object] = json.loads((environment.prefix / STATE_FILE).read_text())
    return content


def builder_command(layout: Layout, spec: EnvironmentSpec) -> list[str]:
    """A process of its own that builds the spec."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from admlops.environments import EnvironmentSpec, ensure
        from admlops.core.paths import Layout

        root, repository, environments, requirements = map(Path, sys.argv[1:])
        layout = Layout(root=root, repository=repository, environments=environments)
        ensure(layout, EnvironmentSpec(name="Small-modern", python=">=3.11", requirements=(requirements,)), say=print)
        """
    )
    paths = (layout.root, layout.repository, layout.environments, spec.requirements[0])
    return [sys.executable, "-c", program, *map(str, paths)]


def test_builds_once_and_is_isolated(layout: Layout, spec: EnvironmentSpec) -> None:
    said: list[str] = []
    environment = ensure(layout, spec, say=said.append)
    assert state_of(environment)["state"] == "ready"
    assert len(said) == 2
    again = ensure(layout, spec, say=said.append)
    assert again == environment
    assert len(said) == 2, "a ready environment is not built again"
    found = run([environment.python, "-c", "import click, sys; print(click.__file__, sys.path)"], timeout_s=60)
    assert str(environment.prefix) in found.stdout
    assert sys.prefix not in found.stdout, "the host's packages are not visible"
    missing = run([environment.python, "-c", "import admlops"], timeout_s=60, variables=environment.variables)
    assert "ModuleNotFoundError" in missing.stderr


def test_a_wrong_hash_installs_nothing_and_says_which_lock(layout: Layout, spec: EnvironmentSpec) -> None:
    spec.requirements[0].write_text(re.sub("sha256:.{8}", "sha256:00000000", spec.requirements[0].read_text()))
    with pytest.raises(EnvError, match="hash is not the one in") as caught:
        ensure(layout, spec, say=print)
    assert str(spec.requirements[0]) in caught.value.message
    assert not list(layout.environments.glob("*/lib/*/site-packages/click"))


def test_a_new_lock_gives_a_new_prefix(layout: Layout, empty_spec: EnvironmentSpec) -> None:
    before = ensure(layout, empty_spec, say=print)
    empty_spec.requirements[0].write_text("# still no packages, but another lock\n")
    after = ensure(layout, empty_spec, say=print)
    assert before.prefix != after.prefix
    assert before.prefix.is_dir()


@pytest.mark.parametrize("damage", ["state", "python"])
def test_a_damaged_environment_is_built_again(layout: Layout, empty_spec: EnvironmentSpec, damage: str) -> None:
    environment = ensure(layout, empty_spec, say=print)
    (environment.prefix / STATE_FILE if damage == "state" else environment.python).unlink()
    again = ensure(layout, empty_spec, say=print)
    assert again.python.exists()
    assert state_of(again)["state"] == "ready"


def test_a_folder_that_is_not_ours_is_left_alone(layout: Layout, empty_spec: EnvironmentSpec) -> None:
    environment = ensure(layout, empty_spec, say=print)
    subprocess.run(["rm", "-r", environment.prefix], check=True)
    environment.prefix.mkdir()
    (environment.prefix / "thesis.tex").write_text("years of work")
    with pytest.raises(EnvError, match="admlops did not make it"):
        ensure(layout, empty_spec, say=print)
    assert (environment.prefix / "thesis.tex").read_text() == "years of work"


def test_a_killed_build_leaves_nothing_that_looks_ready(layout: Layout, spec: EnvironmentSpec) -> None:
    for delay_s in (0.15, 0.3, 0.45, 0.6):
        builder = subprocess.Popen(builder_command(layout, spec), start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(delay_s)
        if builder.poll() is None:
            os.killpg(builder.pid, signal.SIGKILL)
        builder.wait()
    environment = ensure(layout, spec, say=print)
    assert run([environment.python, "-c", "import click"], timeout_s=60).returncode == 0


def test_two_builders_at_once_build_once(layout: Layout, spec: EnvironmentSpec) -> None:
    builders = [
        subprocess.Popen(builder_command(layout, spec), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = "".join(builder.communicate(timeout=120)[0] for builder in builders)
    assert [builder.returncode for builder in builders] == [0, 0], said
    assert said.count("built Small-modern in") == 1


def test_too_little_disk_is_refused_before_anything_is_written(
    layout: Layout, spec: EnvironmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=RESERVE_BYTES + 1)
    monkeypatch.setattr("admlops.environments.install.preflight.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="GB free"):
        ensure(layout, spec, say=print)
    assert not layout.environments.exists()


def test_no_lock_means_not_set_up(layout: Layout, spec: EnvironmentSpec) -> None:
    with pytest.raises(EnvError, match=r"is not set up: its lock .* does not exist"):
        ensure(layout, replace(spec, requirements=(Path("/nowhere/requirements.txt"),)), say=print)


def test_an_impossible_python_lists_what_was_seen() -> None:
    with pytest.raises(EnvError, match=r"no Python >=3.99 on this machine; seen: .*3\."):
        find_interpreter(">=3.99")


def test_an_environments_folder_that_cannot_be_made_is_named(
    layout: Layout, spec: EnvironmentSpec, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    blocked = replace(layout, environments=tmp_path / "file" / "environments")
    with pytest.raises(StorageError, match="environments"):
        ensure(blocked, spec, say=print)


@pytest.mark.parametrize("settings", ["pyproject.toml", "uv.toml"])
def test_the_callers_folder_has_no_say(layout: Layout, spec: EnvironmentSpec, tmp_path: Path, settings: str) -> None:
    """People start admlops inside their own projects."""
    folder = tmp_path / "project" / "deeper"
    folder.mkdir(parents=True)
    required = 'required-version = "==0.1.0"\n'
    text = f"[project]\nname = 'x'\nversion = '1'\n[tool.uv]\n{required}" if settings == "pyproject.toml" else required
    (folder.parent / settings).write_text(text)
    built = subprocess.run(builder_command(layout, spec), cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def test_a_user_without_a_home_has_a_cache(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `docker --user 12345` gives: HOME is unset, and passwd does not know the user."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "UV_CACHE_DIR", "ADMLOPS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    (layout.repository.parent / "file").touch()  # nobody makes a folder in a file, not even root
    monkeypatch.setattr("admlops.environments.install.uv.home_folder", lambda: layout.repository.parent / "file")
    assert uv_settings(layout)["UV_CACHE_DIR"] == str(layout.repository / "cache" / "uv")
    assert find_interpreter(">=3.11").version


def test_what_is_built_is_said_before_it_begins(layout: Layout, spec: EnvironmentSpec) -> None:
    said: list[str] = []
    ensure(layout, spec, say=said.append)
    assert re.fullmatch(
        r"building Small-modern in \S+: Python 3\.\S+ of this machine, 1 locked Python packages; about 25 MB on disk",
        said[0],
    )


def test_silence_is_broken_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from admlops.cli import install_progress

    monkeypatch.setattr(install_progress, "SILENCE_S", 0.5)
    with install_progress.show_installation() as (say, watch):
        watch(Progress(phase="smoke test", done=0, total=None, unit="packages"))
        say("it begins")
        time.sleep(2.5)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "it begins"
    assert re.fullmatch(r"smoke test: \d s", told[1])
