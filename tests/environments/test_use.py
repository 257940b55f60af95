"""A model's environment for other programs and for a person: env run, shell, variables, and source envs/activate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.conda_channel.channel import CondaChannel
from tests.environments.small_checkout import SmallCheckout, make_checkout

from admlops.core.paths import find_layout

SHELLS = [
    pytest.param(
        name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}: apt-get install {name}")
    )
    for name in ("bash", "zsh")
]
QUIET = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, conda_channel: CondaChannel) -> SmallCheckout:
    """With all three environments ready. Read only, please."""
    checkout = make_checkout(tmp_path_factory.mktemp("a checkout"), conda_channel)
    for variant in ("modern", "bare", "conda"):
        checkout.admlops("env", "install", "Tiny", "--variant", variant)
    return checkout


def typed(built: SmallCheckout, shell: str, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a person types into a shell that knows nothing of the project."""
    known = {name: value for name, value in built.variables.items() if name != "ADMLOPS_PATH"}
    return subprocess.run(
        [str(shutil.which(shell)), *QUIET[shell], "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**known, **variables},
        cwd="/",
        check=False,
    )


def dumps(text: str) -> list[dict[str, str]]:
    ignored = ("_", "SHLVL", "PWD", "OLDPWD")
    parts = text.split("\0between\0")
    entries = [(entry.partition("=") for entry in part.split("\0") if entry) for part in parts]
    return [{name: value for name, _, value in pairs if name not in ignored} for pairs in entries]


@pytest.mark.full
def test_run_gives_a_program_what_workers_get(built: SmallCheckout) -> None:
    prefix = built.prefix("conda")
    command = ["env", "run", "Tiny", "--variant", "conda", "--"]
    leaks = {"PYTHONPATH": "/leak", "PIP_CACHE_DIR": "/leak", "CPATH": "/leak", "RUNPOD_API_KEY": "secret"}
    program = "import json, os, sys, click; print(json.dumps([sys.prefix, click.__file__, dict(os.environ)]))"
    said = built.admlops(*command, "python", "-c", program, variables=leaks).stdout
    used, click_file, seen = json.loads(said)
    assert used == str(prefix)
    assert click_file.startswith(str(prefix))
    assert seen["CXX"] == f"{prefix}/bin/x86_64-conda-linux-gnu-g++"
    assert seen["CONDA_PREFIX"] == str(prefix)
    assert not leaks.keys() & seen.keys()
    assert built.admlops(*command, "sh", "-c", "exit 7", check=False).returncode == 7
    assert built.admlops(*command, "cat", check=True).stdout == ""
    missing = built.admlops(*command, "no-such-program", check=False)
    assert missing.returncode == 2
    assert f"PATH was {prefix}/bin" in missing.stderr
    planned = json.loads(built.admlops("env", "run", "Tiny", "--variant", "conda", "--json", "--", "python").stdout)
    assert planned["program"] == f"{prefix}/bin/python"


def test_a_program_that_is_killed_says_so(built: SmallCheckout) -> None:
    command = ["admlops", "env", "run", "Tiny", "--variant", "conda", "--", "sh", "-c", "kill -9 $$"]
    assert subprocess.run(command, env=built.variables, check=False).returncode == -9


@pytest.mark.parametrize("shell", SHELLS)
def test_sourcing_activates_and_deactivate_restores(built: SmallCheckout, shell: str) -> None:
    prefix = built.prefix("conda")
    script = (
        "set -u\ndump () { env -0; printf '\\0between\\0'; }\ndump\n"
        f". '{built.layout.envs}/activate' Tiny --variant conda || exit 9\ndump\n"
        "python -c 'import click; print(click.__file__)' >&2\ndeactivate\ndump\n"
    )
    ended = typed(built, shell, script, CXXFLAGS="-O0", PIP_INDEX_URL="https://example.org", MINE="1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith(str(prefix)), ended.stderr
    before, during, after, _ = dumps(ended.stdout)
    assert during["CONDA_PREFIX"] == str(prefix)
    assert during["PATH"] == f"{prefix}/bin:{before['PATH']}"
    assert during["CXXFLAGS"] != "-O0"
    assert "PIP_INDEX_URL" not in during
    assert during["MINE"] == "1"
    assert after == before


@pytest.mark.parametrize("shell", SHELLS)
def test_another_model_takes_the_place_and_a_failure_changes_nothing(built: SmallCheckout, shell: str) -> None:
    script = (
        f"dump () {{ env -0; printf '\\0between\\0'; }}\nactivate='{built.layout.envs}/activate'\ndump\n"
        '. "$activate" Tiny\ndump\n'
        '. "$activate" Nothing; [ $? -eq 2 ] || exit 9\ndump\n'
        '. "$activate" Tiny --variant bare\ndump\ndeactivate\ndump\n'
        'if . "$activate"; then exit 8; fi\n. "$activate" --help >/dev/null\n'
        "typeset -f deactivate && exit 7\nexit 0"
    )
    ended = typed(built, shell, script)
    assert ended.returncode == 0, ended.stderr
    assert 'no model is called "Nothing"' in ended.stderr
    before, first, failed, second, after = dumps(ended.stdout)[:5]
    assert first["VIRTUAL_ENV"] == str(built.prefix("modern"))
    assert failed == first
    assert second["VIRTUAL_ENV"] == str(built.prefix("bare"))
    assert second["PATH"] == f"{built.prefix('bare')}/bin:{before['PATH']}"
    assert after == before


def test_a_virtual_environment_that_was_active_comes_back(built: SmallCheckout) -> None:
    script = (
        f". '{built.prefix('modern')}/bin/activate'\nmine=$VIRTUAL_ENV\n"
        f". '{built.layout.envs}/activate' Tiny --variant bare || exit 9\n"
        'deactivate\n[ "$VIRTUAL_ENV" = "$mine" ] || exit 8\n'
        'deactivate\n[ -z "${VIRTUAL_ENV-}" ] || exit 7\n'
    )
    ended = typed(built, "bash", script)
    assert ended.returncode == 0, ended.stderr


def test_running_the_file_instead_of_sourcing_it_says_so() -> None:
    ended = subprocess.run(
        ["bash", find_layout().envs / "activate", "Tiny"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "→ source" in ended.stderr


def test_the_file_passes_shellcheck() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck: apt-get install shellcheck")
    checked = subprocess.run(
        ["shellcheck", find_layout().envs / "activate"], capture_output=True, text=True, check=False
    )
    assert checked.stdout == ""


def read_until(descriptor: int, wanted: str, *, timeout_s: float = 60) -> str:
    """What a terminal shows until `wanted` is in it."""
    seen = ""
    deadline = time.monotonic() + timeout_s
    os.set_blocking(descriptor, False)
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        try:
            seen += os.read(descriptor, 4096).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
    return seen


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_is_a_persons_own_with_the_environment_in_it(built: SmallCheckout, tmp_path: Path, shell: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / f".{shell}rc").write_text(f"export PATH={built.variables['PATH']}\nexport FROM_RC=1\nPS1='mine> '\n")
    variables: Mapping[str, str] = {
        **built.variables,
        "HOME": str(home),
        "SHELL": f"/bin/{shell}",
        "TERM": "dumb",
        "TMPDIR": str(tmp_path),
    }
    ours, theirs = os.openpty()
    command = ["admlops", "env", "shell", "Tiny", "--variant", "conda"]
    with subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = read_until(ours, "(Tiny-conda) mine> ")
        os.write(ours, b'echo "rc=$FROM_RC $(command -v python)"; exit 6\n')
        shown += read_until(ours, f"rc=1 {built.prefix('conda')}/bin/python")
        os.set_blocking(ours, True)
        assert process.wait(timeout=60) == 6, shown
    os.close(ours)
    assert not list(tmp_path.glob("admlops-shell-*")), "the start-up files remove themselves"


def test_variables_are_told_to_other_programs(built: SmallCheckout) -> None:
    told = json.loads(built.admlops("env", "variables", "Tiny", "--variant", "conda", "--json").stdout)
    assert told["CONDA_PREFIX"] == str(built.prefix("conda"))
    assert told["PYTHONPATH"] is None
    text = built.admlops("env", "variables", "Tiny", "--variant", "conda").stdout
    assert "unset PYTHONPATH\n" in text
    missing = built.admlops("env", "variables", "Tiny", "--device", "cpu", "--variant", "none", check=False)
    assert missing.returncode == 2
    assert "→ admlops models show Tiny" in missing.stderr
