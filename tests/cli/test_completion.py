"""Completion in the three shells: what is offered, in the real shells where they are here, and its installation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.cli.completion import SPLITS
from admlops.core.paths import find_layout

ADMLOPS = Path(sys.executable).with_name("admlops")
MODELS = sorted(file.parent.name for file in find_layout().envs.glob("*/model.toml"))


def offered(*words: str, **variables: str) -> list[str]:
    """What is offered for the last word, asked as bash asks."""
    asked = {
        "COMP_WORDS": " ".join(["admlops", *words]),
        "COMP_CWORD": str(len(words)),
        "_ADMLOPS_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [ADMLOPS], env={**os.environ, **asked, **variables}, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def repository(tmp_path: Path) -> dict[str, str]:
    """A repository with two runs and a data set."""
    for name, tags in (("older", ["paper"]), ("newer", [])):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        (folder / "tags.json").write_text(json.dumps(tags))
    os.utime(tmp_path / "runs" / "older" / "run.json", (1, 1))
    tables = tmp_path / "data" / "synthetic" / "v1.0-mini"
    tables.mkdir(parents=True)
    (tables / "sample.json").write_text("[]")
    (tables / "scene.json").write_text('[{"name": "scene-0103"}, {"name": "scene-0916"}]')
    lanes = tmp_path / "data" / "OpenLane-V2"
    (lanes / "val" / "00001").mkdir(parents=True)
    (lanes / "data_dict_subset_A.json").write_text("{}")
    return {"ADMLOPS_REP_PATH": str(tmp_path)}


def test_names_of_the_catalogue() -> None:
    assert offered("run", "") == MODELS
    assert offered("run", "map") == ["MapTR", "MapTRv2"], "any case will do where none fits"
    assert offered("run", "VAD", "--checkpoint", "") == ["tiny", "base"]
    assert offered("run", "MapTR", "--variant", "c") == ["classic"]
    assert offered("compare", "--models", "MapTR,Str") == ["MapTR,StreamPETR"]
    assert offered("env", "show", "official/nu") == ["official/nuscenes"]


def test_names_on_disk(repository: dict[str, str]) -> None:
    assert offered("evaluate", "", **repository) == ["newer", "older"]
    assert offered("results", "list", "--tag", "", **repository) == ["paper"]
    assert offered("run", "MapTR", "--scene", "scene-0", **repository) == ["scene-0103", "scene-0916"]
    assert offered("run", "MapTR", "--version", "", **repository) == ["subset_A", "v1.0-mini"]
    assert offered("run", "TopoMLP", "--scene", "v", **repository) == ["val-00001"]
    assert offered("run", "MapTR", "--split", "") == list(SPLITS)


def test_nothing_to_offer_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for broken in ({"ADMLOPS_PATH": str(tmp_path / "nowhere")}, {"ADMLOPS_REP_PATH": str(tmp_path / "file")}):
        assert offered("evaluate", "", **broken) == []
    assert offered("run", "MapTR", "--data", str(tmp_path), "--scene", "") == []


BASH = """
source <(_ADMLOPS_COMPLETE=bash_source admlops)
COMP_WORDS=(admlops run Map); COMP_CWORD=2
_admlops_completion admlops
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
autoload -Uz compinit && compinit -u
source <(_ADMLOPS_COMPLETE=zsh_source admlops)
compadd() { printf '%s\\n' "${(P)@[-1]}"; }
words=(admlops run Map); CURRENT=3
_admlops_completion
"""
FISH = "_ADMLOPS_COMPLETE=fish_source admlops | source; complete --do-complete 'admlops run Map'"


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_the_shell_itself_completes(shell: str, script: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}: apt-get install {shell}")
    variables = {"PATH": f"{ADMLOPS.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [program, "-c", script], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert "MapTR" in done.stdout.split(), done.stderr


Place = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("shell", "place", "once"),
    [
        ("bash", lambda home: home / ".local/share/bash-completion/completions/admlops", None),
        ("zsh", lambda home: home / ".local/share/zsh/site-functions/_admlops", ".zshrc"),
        ("fish", lambda home: home / ".config/fish/completions/admlops.fish", ""),
    ],
)
def test_the_installation_writes_one_file_once(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shell: str, place: Place, once: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    file = place(tmp_path)
    assert f"would write {file}" in typed("completion", "install", shell, "--dry-run").out
    assert not file.exists()
    first = typed("completion", "install", shell)
    assert (first.code, f"wrote {file}" in first.out) == (0, True)
    assert file.read_text().strip() == typed("completion", "show", shell).out.strip() != ""
    assert "is there already" in typed("completion", "install", shell).out
    told = json.loads(typed("completion", "install", shell, "--json").out)
    assert told["changes"] is False
    if once is not None:
        assert once in told["once"]
    if told["once"]:
        subprocess.run(["bash", "-c", told["once"]], check=True, env={**os.environ, "HOME": str(tmp_path)})
        assert json.loads(typed("completion", "install", shell, "--json").out)["once"] == "", "typed once is enough"


def test_a_shell_that_does_not_complete_is_named(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    said = typed("completion", "install")
    assert (said.code, "SHELL=/bin/tcsh" in said.err) == (2, True)
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "complete --no-files --command admlops" in typed("completion", "show").out


def test_completion_loads_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys\nfrom click.shell_completion import ShellComplete\nfrom admlops.cli.main import cli\n"
        "complete = ShellComplete(cli, {}, 'admlops', '_ADMLOPS_COMPLETE')\n"
        "for words in (['run'], ['evaluate'], ['env', 'show'], ['compare', '--models'], ['run', 'VAD', '--scene']):\n"
        "    complete.get_completions(words, '')\n"
        "heavy = ('numpy', 'pydantic', 'matplotlib', 'scipy', 'rich', 'duckdb', 'httpx', 'msgspec', 'rattler')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=find_layout().root
    )
    assert done.stdout.strip() == "[]"
