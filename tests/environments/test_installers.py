"""Installers: digests that must not change, and an extension's own, for which no file of the product is touched."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from tests.environments.small_checkout import SmallCheckout, locked

from admlops.core.errors import EnvError, UsageError
from admlops.core.processes import Completed
from admlops.environments import EnvironmentSpec
from admlops.environments.install.conda.installer import INSTALLER as CONDA
from admlops.environments.install.installer import Installer, digest_of
from admlops.environments.install.uv import checked
from admlops.environments.install.venv import INSTALLER as VENV

LOCKS = {
    "requirements.txt": f"click==8.1.7 --hash=sha256:{'a' * 64}\n",
    "requirements-cuda.txt": f"torch==2.1.0 --hash=sha256:{'b' * 64}\n",
    "conda-lock.yml": "version: 1\n",
    "0001-fix.patch": "--- a\n+++ b\n",
}

EXTENSION = """
import subprocess, sys, venv
from pathlib import Path

from admlops.catalog.registries import INSTALLERS
from admlops.environments.install.venv import VenvInstaller


class StdlibBase:
    packages = ()
    python_version = "{}.{}.{}".format(*sys.version_info)

    def describe(self):
        return "a copy of Python " + self.python_version

    def missing_bytes(self, cache):
        return 0

    def fill(self, prefix, context, *, reinstall=()):
        context.say("filled by the extension")
        venv.create(prefix, with_pip=False, symlinks=True)
        for link in prefix.glob("bin/python*"):
            link.unlink()
        (prefix / "bin" / "python").symlink_to(sys._base_executable)


class StdlibInstaller(VenvInstaller):
    id = "stdlib"

    def identity(self, python_version):
        return "stdlib " + python_version

    def find_obstacle(self, spec, *, cache):
        return None

    def prepare(self, spec):
        lock = spec.installer_locks["stdlib"]
        assert lock.read_text() == "a lock of its own\\n"
        return StdlibBase()

    def owns(self, path):
        return super().owns(path) or path.startswith("bin/Activate")


INSTALLERS.register("stdlib", StdlibInstaller())
"""
METADATA = "Metadata-Version: 2.1\nName: admlops-stdlib\nVersion: 1.0\n"


@pytest.fixture
def pinned(tmp_path: Path) -> EnvironmentSpec:
    for name, text in LOCKS.items():
        (tmp_path / name).write_text(text)
    return EnvironmentSpec(
        name="Pinned-modern",
        python=">=3.11,<3.12",
        requirements=(tmp_path / "requirements.txt", tmp_path / "requirements-cuda.txt"),
        installers=("conda", "venv"),
        installer_locks={"conda": tmp_path / "conda-lock.yml"},
        device="cuda",
        compiled=("mmcv-full",),
        arch=("sm_80", "sm_90"),
        patches=(tmp_path / "0001-fix.patch",),
    )


def test_digests_are_those_of_the_first_version(pinned: EnvironmentSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed by commit de90de3: an environment that is there must be found by every later version."""
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"machine": "x86_64"}))
    simple = EnvironmentSpec(name=pinned.name, python=">=3.11", requirements=pinned.requirements[:1])
    assert digest_of(simple, VENV, "3.11.7") == "befc91f04d1a4ed76f9985e6e25d48a1ad1268e1db5ba0f2a30a92ce241bbd75"
    assert digest_of(pinned, CONDA, "3.11.7") == "627740462a042610712f5657900a74997151bcfe3a5e6a130c733fefd688e477"
    assert digest_of(pinned, VENV, "3.11.7") == "baf1ec2ab730587c6473801ccc07643e9705d3788e8eefb6b9bd80c98183d61f"


@pytest.mark.parametrize("installer", [CONDA, VENV])
def test_the_built_in_ones_follow_the_protocol(installer: Installer) -> None:
    assert isinstance(installer, Installer)


@pytest.fixture
def extended(small: SmallCheckout, tmp_path: Path) -> SmallCheckout:
    """A checkout whose only variant is filled by an installer of an installed extension."""
    package = tmp_path / "extension"
    metadata = package / "admlops_stdlib-1.0.dist-info"
    metadata.mkdir(parents=True)
    (package / "admlops_stdlib.py").write_text(textwrap.dedent(EXTENSION))
    (metadata / "METADATA").write_text(METADATA)
    (metadata / "entry_points.txt").write_text("[admlops.extensions]\nstdlib = admlops_stdlib\n")
    text = (small.model / "model.toml").read_text().split("[variants.bare]")[0]
    text = text.replace('installers = ["venv"]', 'installers = ["stdlib"]\nlocks = {stdlib = "modern/own.lock"}')
    (small.model / "model.toml").write_text(text)
    (small.model / "modern" / "own.lock").write_text("a lock of its own\n")
    (small.model / "modern" / "requirements.txt").write_text(locked())
    return SmallCheckout(layout=small.layout, variables=small.variables | {"PYTHONPATH": str(package)})


def test_an_installer_of_an_extension_builds_an_environment(extended: SmallCheckout) -> None:
    built = extended.admlops("env", "install", "Tiny", "--json")
    assert "filled by the extension" in built.stderr
    [row] = json.loads(built.stdout)
    assert row["installer"] == "stdlib"
    prefix = extended.prefix("modern")
    ran = extended.admlops("env", "run", "Tiny", "--", "python", "-c", "import click; print(click.__file__)")
    assert ran.stdout.startswith(str(prefix))
    extended.admlops("env", "verify", "Tiny", "--full")
    before = row["digest"]
    (extended.model / "modern" / "own.lock").write_text("a lock of its own\n" * 2)
    assert extended.admlops("env", "run", "Tiny", "--", "true", check=False).returncode == 2, (
        "another lock, another one"
    )
    (extended.model / "modern" / "own.lock").write_text("a lock of its own\n")
    next(prefix.rglob("click/core.py")).write_text("edited = True\n")
    assert "reinstalled click" in extended.admlops("env", "repair", "Tiny").stdout
    extended.admlops("env", "pack", "Tiny")
    extended.admlops("env", "remove", "Tiny", "--yes")
    assert "restored Tiny-modern from its pack" in extended.admlops("env", "install", "Tiny").stderr
    assert json.loads(extended.admlops("env", "list", "--json").stdout)[0]["digest"] == before


def test_without_the_extension_the_installer_is_named(extended: SmallCheckout) -> None:
    refused = extended.admlops("env", "install", "Tiny", check=False, variables={"PYTHONPATH": ""})
    assert refused.returncode == 2
    assert "there is no installer 'stdlib'" in refused.stderr
    assert "(there are: conda, venv)" in refused.stderr


def test_what_an_extension_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from admlops.catalog.registries import INSTALLERS
    from admlops.environments.install.installer import find_installer

    class Half:
        id = "half"

    monkeypatch.setattr(INSTALLERS, "get", lambda identifier: Half())
    with pytest.raises(UsageError, match="lacks check_base, compilers, compute_variables, find_obstacle, identity"):
        find_installer("half")


def test_the_old_names_are_still_understood(small: SmallCheckout) -> None:
    text = (small.model / "model.toml").read_text().replace("installers =", "backends =")
    (small.model / "model.toml").write_text(text)
    small.admlops("env", "install", "Tiny", "--backend", "venv")
    assert "--backend" not in small.admlops("env", "install", "--help").stdout
    refused = small.admlops("env", "install", "Tiny", "--installer", "cond", check=False)
    assert refused.returncode == 2
    assert "there is no installer 'cond'; did you mean conda?" in refused.stderr


def test_a_conda_lock_without_python_is_named(tmp_path: Path, pinned: EnvironmentSpec) -> None:
    digest = "b" * 64
    (tmp_path / "conda-lock.yml").write_text(
        "version: 1\nmetadata: {content_hash: {linux-64: abc}, channels: [], platforms: [linux-64], sources: []}\n"
        "package:\n- {name: gxx, version: '1', manager: conda, platform: linux-64, dependencies: {}, category: main,\n"
        f"   url: 'https://conda.anaconda.org/x/linux-64/gxx-1-0.conda', hash: {{sha256: {digest}}}}}\n"
    )
    with pytest.raises(EnvError, match=r"conda-lock\.yml has no package python") as caught:
        CONDA.prepare(pinned)
    assert caught.value.hint.startswith("write python 3.11.* in ")


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ("× Failed to build `odd==1.0`\n  error: invalid command 'bdist_wheel'", "wheel"),
        ("× Failed to build `odd==1.0`\n  ModuleNotFoundError: No module named 'cython.build'", "cython"),
    ],
)
def test_what_a_source_needs_to_be_built_is_named(said: str, needed: str) -> None:
    ended = Completed(returncode=1, stdout="", stderr=said)
    with pytest.raises(EnvError, match=f"building odd==1.0 needs {needed}, which the lock does not have") as caught:
        checked(ended, "Tiny-modern")
    assert caught.value.hint == f"write {needed}==VERSION in requirements.in, then: admlops env lock MODEL"
    other = Completed(returncode=1, stdout="", stderr="something that nobody knows")
    with pytest.raises(EnvError) as unknown:
        checked(other, "Tiny-modern")
    assert "run the command again" not in unknown.value.hint
