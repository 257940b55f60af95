"""`demo.py --sample-token …` under the interpreters of model environments."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.fabricated_nuscenes import VERSION, write_tables
from tests.interpreters import INTERPRETERS

from worker.samples.nuscenes import Tables

ADAPTER = Path(__file__).parent / "one_sample.py"


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def token(dataroot: Path) -> str:
    tables = Tables(str(dataroot), VERSION)
    return tables.samples_of_scene(tables.scene_names()[0])[0]


def run(python: Path, *arguments: object, fail: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), str(ADAPTER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "FAIL": fail},
    )


def check(result: dict[str, Any], token: str) -> None:
    assert list(result) == ["sample_token", "inference_time", "end_to_end_time", "gpu_memory_used", "outputs"]
    assert result["sample_token"] == token
    assert 0 <= result["inference_time"] <= result["end_to_end_time"]
    assert result["gpu_memory_used"] is None
    assert result["outputs"]["map_elements"][0]["points"] == [[0, 1.5], [2, 3]]


@pytest.mark.parametrize("python", INTERPRETERS)
def test_a_file_is_written_in_one_piece(python: Path, dataroot: Path, token: str, tmp_path: Path) -> None:
    done = run(
        python, "--sample-token", token, "--dataroot", dataroot, "--version", VERSION, "--out", tmp_path / "o.json"
    )
    assert done.returncode == 0, done.stderr
    check(json.loads((tmp_path / "o.json").read_bytes()), token)
    assert [path.name for path in tmp_path.iterdir()] == ["o.json"]


@pytest.mark.parametrize("python", INTERPRETERS)
def test_stdout_holds_the_result_alone_whatever_the_model_prints(python: Path, dataroot: Path, token: str) -> None:
    done = run(python, "--sample-token", token, "--dataroot", dataroot, "--version", VERSION, "--out", "-")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), token)
    assert "a library speaks" in done.stderr
    assert "loading on cpu" in done.stderr


MISTAKES = {
    "no token": ([], "--sample-token is missing"),
    "no dataroot": (["--sample-token", "TOKEN"], "--dataroot is missing"),
    "a dataroot that is not there": (
        ["--sample-token", "TOKEN", "--dataroot", "/no/such"],
        "--dataroot /no/such is not",
    ),
    "another version": (["--sample-token", "TOKEN", "--dataroot", "ROOT", "--version", "v9"], "has no folder v9"),
    "an unknown token": (["--sample-token", "nope", "--dataroot", "ROOT"], "has no sample 'nope'"),
    "no such config": (
        ["--sample-token", "TOKEN", "--dataroot", "ROOT", "--config", "/c.py"],
        "--config /c.py is not a file",
    ),
    "no such folder": (
        ["--sample-token", "TOKEN", "--dataroot", "ROOT", "--out", "/no/o.json"],
        "the folder /no is not there",
    ),
    "options that are no JSON": (
        ["--sample-token", "TOKEN", "--dataroot", "ROOT", "--options", "command=left"],
        "--options command=left: Expecting value",
    ),
    "options that are no object": (
        ["--sample-token", "TOKEN", "--dataroot", "ROOT", "--options", "[1]"],
        "--options [1] is not a JSON object",
    ),
    "serve by hand": (["--serve"], "--serve is for the host"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(mistake: str, dataroot: Path, token: str) -> None:
    arguments, words = MISTAKES[mistake]
    places = {"TOKEN": token, "ROOT": str(dataroot)}
    done = run(Path(INTERPRETERS[0].values[0]), *[places.get(argument, argument) for argument in arguments])  # type: ignore[arg-type]
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line not in {"a library speaks", "loading on cpu"}]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize("python", INTERPRETERS)
@pytest.mark.parametrize(
    ("fail", "code", "words"),
    [("data", 2, "cannot be decoded"), ("model", 1, "model failure: ValueError: wrong shape")],
)
def test_a_failing_sample_writes_nothing(
    python: Path, fail: str, code: int, words: str, dataroot: Path, token: str, tmp_path: Path
) -> None:
    done = run(python, "--sample-token", token, "--dataroot", dataroot, "--out", tmp_path / "o.json", fail=fail)
    assert done.returncode == code
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("python", INTERPRETERS)
def test_help_names_every_option(python: Path) -> None:
    done = run(python, "--help")
    assert done.returncode == 0
    for option in ("--sample-token", "--dataroot", "--version", "--out", "--device", "--config", "--checkpoint"):
        assert option in done.stdout
