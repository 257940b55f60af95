"""Activation: what the scripts of a conda prefix say, from a clean start; and a person's shell, there and back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from admlops.core.errors import EnvError
from admlops.core.processes import process_environment, run
from admlops.environments import Environment
from admlops.environments.activation import (
    ACTIVATION_FILE,
    SYSTEM_PATH,
    read_activation,
    write_activation,
)
from admlops.environments.activation_shell import activation_code, startup_files
from admlops.environments.install.conda.activation import compute_variables
from admlops.environments.install.venv import INSTALLER as VENV

SHELLS = [
    pytest.param(
        name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}: apt-get install {name}")
    )
    for name in ("bash", "zsh")
]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A conda prefix in a folder with a space, a quote and a dollar in its name, with a compiler's kind of scripts."""
    prefix = tmp_path / "it's an $env (1)"
    scripts = prefix / "etc" / "conda" / "activate.d"
    scripts.mkdir(parents=True)
    (prefix / "etc" / "conda" / "env_vars.d").mkdir()
    (prefix / "conda-meta").mkdir()
    (scripts / "10-gxx.sh").write_text(
        'export CXX="$CONDA_PREFIX/bin/g++"\nexport CXXFLAGS="${CXXFLAGS-} -isystem $CONDA_PREFIX/include"\n'
        'echo "activating a compiler"\n[ -n "${CONDA_BUILD-}" ] && export NEVER=1\n'
    )
    (scripts / "20-nvcc.sh").write_text(
        'export PATH="$CONDA_PREFIX/nvvm/bin:$PATH"\n'
        'export NVCC_PREPEND_FLAGS="-ccbin=$CXX"\nexport LINES_="one\ntwo"\n'
    )
    (prefix / "etc" / "conda" / "env_vars.d" / "package.json").write_text('{"FROM_PACKAGE": "yes", "BOTH": "package"}')
    (prefix / "conda-meta" / "state").write_text('{"env_vars": {"BOTH": "person", "GONE": "***unset***"}}')
    return prefix


def test_scripts_are_run_from_a_clean_start(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-O0 -fsanitize=address")
    monkeypatch.setenv("PATH", f"/decoy/bin:{os.environ['PATH']}")
    monkeypatch.setenv("CONDA_PREFIX", "/another/prefix")
    variables = compute_variables(prefix)
    assert variables["CONDA_PREFIX"] == str(prefix)
    assert variables["CXX"] == f"{prefix}/bin/g++"
    assert variables["CXXFLAGS"] == f" -isystem {prefix}/include", "nothing of ours was appended to"
    assert variables["NVCC_PREPEND_FLAGS"] == f"-ccbin={prefix}/bin/g++"
    assert variables["PATH"] == f"{prefix}/nvvm/bin:{prefix}/bin:{SYSTEM_PATH}"
    assert variables["LINES_"] == "one\ntwo"
    assert (variables["FROM_PACKAGE"], variables["BOTH"], variables["GONE"]) == ("yes", "person", None)
    assert "NEVER" not in variables
    assert not {"_", "PWD", "OLDPWD", "SHLVL", "HOME"} & variables.keys()


def test_activation_does_not_nest(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = compute_variables(prefix)
    for name, value in once.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert compute_variables(prefix) == once


def test_cuda_home_is_the_prefix_where_nvcc_is(prefix: Path) -> None:
    assert compute_variables(prefix)["CUDA_HOME"] is None, "not the pod image's toolkit either"
    (prefix / "bin").mkdir()
    (prefix / "bin" / "nvcc").touch()
    assert compute_variables(prefix)["CUDA_HOME"] == str(prefix)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "broken.sh ended the shell"),
        ("no-such-program --please", "broken.sh returned 127: .*no-such-program"),
        ('echo "ERROR: CXX is not set"', "broken.sh returned 0: ERROR: CXX is not set"),
        ("if then", "broken.sh .*syntax error"),
    ],
)
def test_a_script_that_fails_is_named_with_what_it_said(prefix: Path, script: str, said: str) -> None:
    (prefix / "etc" / "conda" / "activate.d" / "broken.sh").write_text(script + "\n")
    with pytest.raises(EnvError, match=f"(?s){said}"):
        write_activation(prefix, compute_variables(prefix))
    assert read_activation(prefix) is None, "nothing is kept"


def test_a_script_whose_last_test_is_not_met_has_not_failed(prefix: Path) -> None:
    (prefix / "etc" / "conda" / "activate.d" / "quiet.sh").write_text('export QUIET=1\n[ -n "" ]\n')
    assert compute_variables(prefix)["QUIET"] == "1"


@pytest.mark.parametrize("content", ["{", "[]", '{"A B": "1"}'])
def test_bad_stated_variables_are_named(prefix: Path, content: str) -> None:
    (prefix / "etc" / "conda" / "env_vars.d" / "bad.json").write_text(content)
    with pytest.raises(EnvError, match=r"bad\.json"):
        compute_variables(prefix)


def test_what_was_kept_is_for_its_own_prefix_only(prefix: Path, tmp_path: Path) -> None:
    written = write_activation(prefix, compute_variables(prefix))
    assert read_activation(prefix) == written
    moved = prefix.rename(tmp_path / "moved")
    assert read_activation(moved) is None
    (moved / ACTIVATION_FILE).write_text("{")
    assert read_activation(moved) is None
    assert read_activation(tmp_path / "nowhere") is None


def test_a_venv_needs_no_scripts(tmp_path: Path) -> None:
    variables = VENV.compute_variables(tmp_path)
    assert variables["VIRTUAL_ENV"] == str(tmp_path)
    assert variables["PATH"] == f"{tmp_path}/bin:{SYSTEM_PATH}"


POD_IMAGE = {
    "PYTHONPATH": "/somewhere",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_CACHE_DIR": "/workspace/.cache/pip",
    "UV_CACHE_DIR": "/workspace/.cache/uv",
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "CPATH": "/usr/local/cuda/include",
    "CUDA_HOME": "/usr/local/cuda",
    "CONDA_SHLVL": "2",
    "LD_PRELOAD": "",
    "RUNPOD_API_KEY": "secret",
}


def test_what_pod_images_set_reaches_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("driver", "cuda/lib64", "cuda/compat"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("driver", "cuda/compat"):
        (tmp_path / folder / "libcuda.so.1").touch()
    for name, value in POD_IMAGE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "LD_LIBRARY_PATH", ":".join(str(tmp_path / folder) for folder in ("cuda/compat", "cuda/lib64", "driver"))
    )
    said = run(["env", "-0"], timeout_s=20).stdout
    seen = dict(entry.split("=", 1) for entry in said.split("\0") if entry)
    assert not POD_IMAGE.keys() & seen.keys()
    assert seen["LD_LIBRARY_PATH"] == str(tmp_path / "driver"), "the driver stays, its compatibility libraries do not"
    assert "RUNPOD_API_KEY" not in process_environment({})
    assert process_environment({"PIP_CACHE_DIR": "/mine"})["PIP_CACHE_DIR"] == "/mine", "what is asked for is given"


def environment_of(prefix: Path) -> Environment:
    variables = compute_variables(prefix)
    python = prefix / "bin" / "python"
    return Environment(
        name="Demo-modern", prefix=prefix, python=python, digest="0" * 64, installer="conda", variables=variables
    )


def in_shell(shell: str, script: str, variables: Mapping[str, str]) -> str:
    quiet = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
    ended = subprocess.run(
        [str(shutil.which(shell)), *quiet, "-c", script],
        capture_output=True,
        text=True,
        env=dict(variables),
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout


PERSONS = {
    "HOME": "/root",
    "PATH": "/home/me/bin:/usr/bin:/bin",
    "MINE": "a 'quoted' $value\nin two lines",
    "CXXFLAGS": "-O0",
    "PIP_CACHE_DIR": "/workspace/.cache",
    "HF_TOKEN": "my own secret",
    "PS1": "> ",
}


RESTORED = """
PS1="> "
CONDA_PREFIX=unexported
deactivate () { echo another; }
dump () { env -0 | sort -z; }
between () { printf '\\0between\\0'; }
dump; between
CODE
dump; between
echo "$PS1"
deactivate
dump; between
echo "$CONDA_PREFIX $PS1"
deactivate
[ -z "${_ADMLOPS_ACTIVE+x}${_admlops_function+x}${_admlops_prompt+x}${_admlops_kept_CONDA_PREFIX+x}" ] && echo clean
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_activated_and_restored(prefix: Path, shell: str) -> None:
    code = activation_code(environment_of(prefix), PERSONS, environments=prefix.parent)
    script = RESTORED.replace("CODE", code)
    before, during, after, last = in_shell(shell, script, PERSONS).split("\0between\0")
    prompt, _, after = after.partition("\n")
    seen = dict(entry.split("=", 1) for entry in during.split("\0") if entry)
    assert seen["PATH"] == f"{prefix}/nvvm/bin:{prefix}/bin:/home/me/bin:/usr/bin:/bin"
    assert seen["CXXFLAGS"] == f" -isystem {prefix}/include"
    assert seen["MINE"] == PERSONS["MINE"]
    assert seen["HF_TOKEN"] == "my own secret", "a person's own shell keeps their secrets"
    assert "PIP_CACHE_DIR" not in seen
    assert prompt == "(Demo-modern) > "
    assert drop_last_command(after) == drop_last_command(before), "everything is as it was"
    assert last.split() == ["unexported", ">", "another", "clean"]


def drop_last_command(dump: str) -> list[str]:
    return [entry for entry in dump.split("\0") if not entry.startswith(("_=", "SHLVL=", "PWD=", "OLDPWD="))]


def test_another_environments_path_does_not_stay(prefix: Path) -> None:
    inherited = {"PATH": f"{prefix.parent}/Other-modern-123/bin:/usr/bin"}
    code = activation_code(environment_of(prefix), inherited, environments=prefix.parent)
    assert "Other-modern-123" not in code.partition("deactivate ()")[0]


@pytest.mark.parametrize("shell", SHELLS)
def test_an_interactive_shell_is_activated_after_its_own_start_files(tmp_path: Path, shell: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / f".{shell}rc").write_text("export PATH=/from/rc:/usr/bin:/bin\nexport MINE=1\n")
    folder = tmp_path / "startup"
    folder.mkdir()
    for name, content in startup_files("export PATH=/activated:$PATH", home=home, folder=folder, shell=shell).items():
        (folder / name).write_text(content)
    options = ["--rcfile", str(folder / "bashrc"), "-i"] if shell == "bash" else ["-i"]
    variables = {"HOME": str(home), "PATH": "/usr/bin:/bin", "ZDOTDIR": str(folder), "TERM": "dumb"}
    ended = subprocess.run(
        [str(shutil.which(shell)), *options],
        input='echo "saw $PATH $MINE"\nexit 7\n',
        capture_output=True,
        text=True,
        env=variables,
        timeout=30,
    )
    assert "saw /activated:/from/rc:/usr/bin:/bin 1" in ended.stdout
    assert ended.returncode == 7
    assert not folder.exists(), "the start-up files remove themselves"


def test_what_is_kept_is_plain_json(prefix: Path) -> None:
    write_activation(prefix, compute_variables(prefix))
    content = json.loads((prefix / ACTIVATION_FILE).read_text())
    assert content["prefix"] == str(prefix)
    assert content["variables"]["PYTHONPATH"] is None
