"""What must hold for every file of the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from admlops.cli.main import cli
from admlops.core.paths import find_layout

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
