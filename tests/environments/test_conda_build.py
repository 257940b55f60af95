"""Whole builds of conda environments: killed, doubled, without a host, from edited caches, in a read-only home."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conda_channel.channel import CondaChannel
from tests.conda_channel.disks import read_only_folder

from admlops.core.errors import EnvError
from admlops.core.paths import Layout, find_layout
from admlops.core.processes import run
from admlops.environments import Environment, EnvironmentSpec, ensure
from admlops.environments.ensure import find
from admlops.environments.install.conda.archives import not_cached
from admlops.environments.install.conda.mirror import channels_answer
from admlops.environments.install.installer import find_installer
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.plan import locked_packages
from admlops.environments.integrity.verification import verify
from admlops.environments.prefix import STATE_FILE
from admlops.environments.spec.conda_lock import read_conda_lock

WHEELS = Path(__file__).parents[1] / "conda_channel" / "wheels.txt"
UNREACHABLE = {"ADMLOPS_CONDA_MIRROR": "http://127.0.0.1:9"}
BUILDER = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from admlops.environments import EnvironmentSpec, ensure
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import Layout

    wanted = json.loads(sys.argv[1])
    layout = Layout(**{name: Path(path) for name, path in wanted["layout"].items()})
    spec = EnvironmentSpec(
        name=wanted["name"], python=wanted["python"], requirements=tuple(map(Path, wanted["requirements"])),
        installer_locks={"conda": Path(wanted["conda_lock"])}, installers=("conda",),
    )
    try:
        ensure(layout, spec, say=print)
    except AdmlopsError as error:
        sys.exit(str(error))
    """
)


@pytest.fixture
def layout(tmp_path: Path, conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A layout of the test's own; the canonical host of conda packages is the test channel."""
    for name, value in conda_channel.mirror_variables().items():
        monkeypatch.setenv(name, value)
    conda_channel.clear_log()
    return Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")


@pytest.fixture
def spec(tmp_path: Path, conda_channel: CondaChannel) -> EnvironmentSpec:
    """Python and a compiler of conda's, and one package of the Python index."""
    lock = conda_channel.write_lock(tmp_path / "conda-lock.yml", ["gxx_linux-64"], python="3.11")
    return EnvironmentSpec(
        name="Small-modern",
        python=">=3.11,<3.12",
        requirements=(WHEELS,),
        installer_locks={"conda": lock},
        installers=("conda", "venv"),
        smoke=("wheel", "ssl"),
    )


def build(layout: Layout, spec: EnvironmentSpec, said: list[str], options: BuildOptions | None = None) -> Environment:
    try:
        return ensure(layout, spec, say=said.append, options=options)
    except EnvError as error:
        if "index cannot be reached" in error.message:
            pytest.skip("needs the package index once, for the one Python package of the lock")
        raise


def builder(layout: Layout, spec: EnvironmentSpec, variables: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A process of its own that builds the spec."""
    places = {name: str(getattr(layout, name)) for name in ("root", "repository", "environments")}
    wanted = {
        "layout": places,
        "name": spec.name,
        "python": spec.python,
        "requirements": [str(path) for path in spec.requirements],
        "conda_lock": str(spec.installer_locks["conda"]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, json.dumps(wanted)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(variables or {})},
    )


def assert_whole(environment: Environment, spec: EnvironmentSpec) -> None:
    conda = find_installer(environment.installer).locked_packages(spec)
    python = locked_packages(spec, json.loads((environment.prefix / STATE_FILE).read_text())["python"])
    assert verify(environment.prefix, full=True, base=conda, python=python).differences == ()


def test_a_conda_environment_is_built_once_and_runs(layout: Layout, spec: EnvironmentSpec) -> None:
    said: list[str] = []
    environment = build(layout, spec, said)
    assert environment.installer == "conda"
    assert environment.variables["CXX"] == str(environment.prefix / "bin" / "x86_64-conda-linux-gnu-g++")
    program = "import sys, wheel; print(sys.prefix, wheel.__file__)"
    shown = run([environment.python, "-c", program], timeout_s=60, variables=environment.variables).stdout
    assert shown.split()[0] == str(environment.prefix)
    assert shown.split()[1].startswith(str(environment.prefix))
    state = json.loads((environment.prefix / STATE_FILE).read_text())
    assert (state["state"], state["backend"], state["packages"]) == ("ready", "conda", 5)
    assert state["size_bytes"] > 10_000_000
    assert "MB on disk" in said[-1]
    assert ensure(layout, spec, say=said.append) == environment
    assert len(said) == 2, "a ready environment is not built again"
    assert_whole(environment, spec)


@pytest.mark.parametrize("moments", [5, pytest.param(20, marks=pytest.mark.full)])
def test_killed_at_any_moment_the_next_call_goes_on(
    layout: Layout, spec: EnvironmentSpec, conda_channel: CondaChannel, moments: int
) -> None:
    packages = read_conda_lock(spec.installer_locks["conda"]).packages
    cache = layout.repository / "cache"
    begun = time.monotonic()
    build(layout, replace(spec, installers=("conda",), smoke=()), [])
    whole_s = time.monotonic() - begun
    chance = random.Random(20260)
    killed = 0
    for moment in range(moments):
        if moment % 3 == 0:
            shutil.rmtree(cache)
        if find(layout, replace(spec, installers=("conda",), smoke=())) is not None:
            shutil.rmtree(layout.environments)
        missing = {package.file_name for package in not_cached(packages, cache=cache)}
        conda_channel.clear_log()
        process = builder(layout, spec)
        time.sleep(chance.uniform(0.0, whole_s))
        killed += process.poll() is None
        process.kill()  # the builder alone: what it started has to notice by itself
        process.communicate()
        asked_for = {request.path.rsplit("/", 1)[-1] for request in conda_channel.packages_asked_for()}
        assert asked_for <= missing, "nothing that was whole is asked for again"
        if moment % 5 == 4:
            final = builder(layout, spec)
            said, _ = final.communicate(timeout=240)
            assert final.returncode == 0, said
            found = find(layout, replace(spec, installers=("conda",), smoke=()))
            assert found is not None
            assert_whole(found, spec)
    assert killed > 0


@pytest.mark.full
def test_two_builders_at_once_build_once(layout: Layout, spec: EnvironmentSpec) -> None:
    build(layout, replace(spec, name="Warm-modern"), [])
    both = [builder(layout, spec) for _ in range(2)]
    said = "".join(process.communicate(timeout=240)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert said.count("built Small-modern in") == 1


def test_a_failed_build_is_broken_and_then_mended(
    layout: Layout, spec: EnvironmentSpec, conda_channel: CondaChannel, tmp_path: Path
) -> None:
    clashing = conda_channel.write_lock(tmp_path / "clash.yml", ["clash-one", "clash-two"], python="3.11")
    broken = replace(spec, installer_locks={"conda": clashing}, installers=("conda",))
    with pytest.raises(EnvError, match="clash-one and clash-two"):
        build(layout, broken, [])
    [state_file] = layout.environments.glob(f"*/{STATE_FILE}")
    state = json.loads(state_file.read_text())
    assert state["state"] == "broken"
    assert "clash-one and clash-two" in state["reason"]
    assert find(layout, broken) is None


def test_an_edited_cache_of_uvs_reaches_no_environment(
    layout: Layout, spec: EnvironmentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    small = replace(spec, installers=("venv",), smoke=())
    first = build(layout, small, [])
    [cached] = (tmp_path / "uv").glob("archive-v*/*/wheel/__init__.py")
    cached.write_text(cached.read_text() + "\n# edited in the cache\n")
    shutil.rmtree(first.prefix)
    said: list[str] = []
    second = build(layout, small, said)
    assert "installing wheel anew: files are not as their packages say" in said
    assert_whole(second, small)
    [installed] = second.prefix.glob("lib/python*/site-packages/wheel/__init__.py")
    assert "edited" not in installed.read_text()
    assert installed.stat().st_nlink == 1


def test_without_a_host_and_a_cache_the_other_installer_is_taken_and_said(
    layout: Layout, spec: EnvironmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    assert build(layout, spec, said).installer == "venv"
    assert "is built by venv, because the host of the conda packages does not answer" in said[0]
    with pytest.raises(EnvError, match="cannot be built here: the host of the conda packages does not answer"):
        build(layout, replace(spec, installers=("conda",)), [], BuildOptions())


@pytest.mark.full
def test_with_a_full_cache_no_host_is_needed(
    layout: Layout, spec: EnvironmentSpec, conda_channel: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(layout, spec, [])
    shutil.rmtree(first.prefix)
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    assert build(layout, spec, []).installer == "conda"


def test_a_named_installer_is_taken_or_refused(layout: Layout, spec: EnvironmentSpec) -> None:
    conda = build(layout, spec, [])
    venv = build(layout, spec, [], BuildOptions(installer="venv"))
    assert (conda.installer, venv.installer) == ("conda", "venv")
    assert conda.prefix != venv.prefix
    assert find(layout, spec) == conda, "the preferred one is found first"
    with pytest.raises(EnvError, match="cannot be built by conda; it can by venv"):
        build(layout, replace(spec, name="Other-modern", installers=("venv",)), [], BuildOptions(installer="conda"))


def test_a_host_that_did_not_answer_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and never says a word."""
    connections: list[socket.socket] = []

    def accept(server: socket.socket) -> None:
        while True:
            try:
                connections.append(server.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        monkeypatch.setenv("ADMLOPS_CONDA_MIRROR", f"http://127.0.0.1:{server.getsockname()[1]}")
        urls = ["https://conda.anaconda.org/conda-forge/linux-64/a-1.0-0.conda"]
        answers = [channels_answer(urls, cache=tmp_path) for _ in range(3)]
    assert answers == [False, False, False]
    assert len(connections) == 1
    for connection in connections:
        connection.close()


def test_a_read_only_home_is_no_hindrance(layout: Layout, spec: EnvironmentSpec, tmp_path: Path) -> None:
    with read_only_folder(tmp_path / "home") as home:
        variables = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "UV_CACHE_DIR": ""}
        process = builder(layout, replace(spec, smoke=()), variables)
        said, _ = process.communicate(timeout=240)
    if "index cannot be reached" in said:
        pytest.skip("needs the package index: the cache in the home cannot be used")
    assert process.returncode == 0, said
    assert (layout.repository / "cache" / "uv").is_dir()


def test_what_is_asked_for_is_what_is_found(layout: Layout, spec: EnvironmentSpec) -> None:
    """Two devices of one variant are two environments."""
    assert find(layout, spec) is None
    digests: Sequence[str] = [
        replace(spec, device=device, installers=("conda",)).digest("conda", "conda") for device in (None, "cpu", "cuda")
    ]
    assert len(set(digests)) == 3
