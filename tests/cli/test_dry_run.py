"""--dry-run: every command that writes takes it, says what would be done, and writes nothing."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.typed import Typed

from admlops.cli.main import cli
from admlops.core.paths import find_layout

READERS = frozenset(
    {
        "audit",
        "checkpoints inspect",
        "checkpoints list",
        "checkpoints verify",
        "completion show",
        "config show",
        "data check",
    }
    | {
        "data history",
        "data list",
        "doctor",
        "env list",
        "env probe",
        "env run",
        "env shell",
        "env show",
        "env variables",
        "env verify",
        "exported list",
        "health",
    }
    | {
        "info",
        "plan",
        "models list",
        "models memory",
        "models show",
        "models validate",
        "results compare",
        "results list",
        "results show",
    }
    | {"results verify", "sources list", "sources verify", "streaming"}
)
"""What writes nothing of its own. A new command is one of these, or takes --dry-run."""


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            whole = f"{path} {name}".strip()
            if isinstance(command, click.Group):
                yield from walk(command, whole)
            else:
                yield whole, command

    return walk(cli, "")


def test_every_command_that_writes_takes_it() -> None:
    without = {name for name, command in commands() if not any("--dry-run" in one.opts for one in command.params)}
    assert without - READERS == set(), "a command that writes takes --dry-run; one that does not is a reader"
    assert READERS - without == set()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with GroundPlane and MapTR, a repository with tables of a data set and weights; nothing is built."""
    checkout = tmp_path / "checkout"
    for model in ("GroundPlane", "MapTR", "common", "official", "tools"):
        shutil.copytree(find_layout().root / "envs" / model, checkout / "envs" / model)
    for name in ("runners", ".gitmodules"):
        (checkout / name).symlink_to(find_layout().root / name)
    (checkout / "submodules").mkdir()
    monkeypatch.setenv("ADMLOPS_PATH", str(checkout))
    monkeypatch.setenv("ADMLOPS_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "own.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return tmp_path


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time; caches of what hosts answered are no work of a person's."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir() and "cache" not in path.relative_to(folder).parts
    }


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("checkpoints fetch MapTR", "would download {place}/repository/checkpoints/MapTR/maptr_tiny_r50_24e.pth"),
        (
            "checkpoints add MapTR tiny-24e {place}/own.safetensors",
            "would copy to {place}/repository/checkpoints/MapTR/maptr_tiny_r50_24e.pth",
        ),
        ("completion install fish", "would write {place}/config/fish/completions/admlops.fish"),
        ("data synthesize {place}/new --scenes 1 --samples 3", "would write {place}/new: 1 scene of 3 key frames"),
        ("env install GroundPlane", "would build {place}/environments/GroundPlane-modern-"),
        ("env install official/nuscenes", "would build {place}/environments/official-nuscenes-"),
        ("env install tools/onnx", "would build {place}/environments/tools-onnx-"),
        ("env lock MapTR --variant modern --only python", "MapTR/modern/requirements.txt: from requirements.in"),
        ("env pull GroundPlane --from {place}/store", "would look for GroundPlane-modern-"),
        ("models new Mine", "would write {place}/checkout/envs/Mine/model.toml"),
        ("serve", "would serve http://127.0.0.1:8000: 1 job at a time"),
        ("results index", "would write {place}/repository/runs/index.duckdb: 0 runs"),
        ("results index --database {place}/results.sqlite3", "would write {place}/results.sqlite3: 0 runs"),
        ("results schema --out {place}/schema.json", "would write {place}/schema.json"),
        ("sources fetch MapTR", "would check out {place}/checkout/submodules/MapTR"),
        ("check", "would leave out MapTR: not set up"),
        ("check GroundPlane", "would leave out GroundPlane: not set up"),
        ("env gc", "nothing to remove"),
    ],
)
def test_it_says_what_and_writes_nothing(typed: Typed, place: Path, command: str, says: str) -> None:
    before = files_of(place)
    said = typed(*command.format(place=place).split(), "--dry-run")
    assert said.code == 0, said.err
    assert says.format(place=place) in said.out
    as_json = typed(*command.format(place=place).split(), "--dry-run", *([] if "schema" in command else ["--json"]))
    assert "schema" in command or json.loads(as_json.out) is not None
    assert files_of(place) == before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("run GroundPlane --data {data} --limit 3 --run x", "would run GroundPlane: 3 samples of 1 scene"),
        ("compare --models GroundPlane,MapTR --data {data}", "would leave out MapTR: MapTR is not set up"),
        ("check --models GroundPlane --data {data}", "would"),
        ("data index {data}", "would write {data}/v1.0-mini/admlops-index"),
    ],
)
def test_runs_and_comparisons_are_previewed(
    typed: Typed, place: Path, synthetic_root: Path, command: str, says: str
) -> None:
    before = files_of(place), files_of(synthetic_root)
    said = typed(*command.format(data=synthetic_root).split(), "--dry-run")
    assert said.code == 0, said.err
    assert says.format(data=synthetic_root) in said.out
    assert (files_of(place), files_of(synthetic_root)) == before


def test_what_the_command_would_refuse_the_preview_refuses(typed: Typed, place: Path, synthetic_root: Path) -> None:
    data = ("--data", synthetic_root)
    for command, words in (
        (("run", "MapTR", *data), "not set up"),
        (("run", "GroundPlane", *data, "--scene", "scene-9"), "scene-9"),
        (("run", "GroundPlane", *data, "--device", "banana"), "banana"),
        (("run", "GroundPlane", *data, "--run", "gone", "--resume"), 'no run is called "gone"'),
        (("env", "install", "MapTR", "--variant", "nope"), "nope"),
        (("models", "new", "GroundPlane"), "there is a model GroundPlane already"),
        (("checkpoints", "add", "MapTR", "tiny-24e", place / "none.pth"), "none.pth"),
        (("data", "synthesize", place / "checkout"), "is not a synthetic data set"),
    ):
        said = typed(*command, "--dry-run")
        assert (said.code, words in said.err) == (2, True), (command, said)
