"""Follows docs/adding-a-model.md word for word in a checkout of its own: what the page says is what works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from admlops.core.paths import find_layout
from admlops.results.record_json import decode_record

PAGE = find_layout().root / "docs" / "adding-a-model.md"


class Block(NamedTuple):
    """A fenced code block: its language, the file that its title names (or empty), its text."""

    language: str
    title: str
    text: str


def _blocks() -> list[Block]:
    fences = re.findall(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*fence) for fence in fences]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that has the project's code and no model but the one the page adds."""
    root = tmp_path / "checkout"
    (root / "envs").mkdir(parents=True)
    (root / "runners").symlink_to(find_layout().root / "runners")
    for block in _blocks():
        if block.title:
            file = root / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
    return root


def _type_in(checkout: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a person types, in the checkout's root, with `admlops` on PATH."""
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "ADMLOPS_PATH": str(checkout),
        "ADMLOPS_REP_PATH": str(checkout / "admlops_repository"),
        "ADMLOPS_ENVIRONMENTS": str(checkout / ".environments"),
        **variables,
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_page_shows_every_file_of_a_model() -> None:
    titles = [block.title for block in _blocks() if block.title]
    assert titles == ["envs/Tiny/model.toml", "envs/Tiny/demo.py", "envs/Tiny/modern/requirements.txt"]


def test_the_page_works_as_written(checkout: Path, synthetic_root: Path) -> None:
    said = ""
    for block in _blocks():
        if block.language == "bash":
            typed = _type_in(checkout, block.text, DATA=str(synthetic_root))
            assert typed.returncode == 0, f"{block.text}\n{typed.stdout}\n{typed.stderr}"
            said += typed.stdout
    assert "envs/Tiny/model.toml is valid" in said
    run = checkout / "admlops_repository" / "runs" / "tiny"
    header = json.loads((run / "run.json").read_text())
    assert header["state"] == "complete"
    for scene, samples in header["scenes"].items():
        lines = (run / "records" / f"{scene}.jsonl").read_bytes().splitlines()
        records = [decode_record(line, where=scene) for line in lines]
        assert len(records) == samples
        for record in records:
            assert record.metadata.status == "ok"
            assert [element.points[0][1] for element in record.map_elements or ()] == [1.75, -1.75]


def test_a_mistake_in_the_new_model_is_named(checkout: Path) -> None:
    file = checkout / "envs" / "Tiny" / "model.toml"
    file.write_text(file.read_text().replace('["divider"]', '["lane_line"]'))
    typed = _type_in(checkout, "admlops models validate")
    assert typed.returncode == 2
    assert f'{file}: classes.vector_map names "lane_line"' in typed.stderr


def test_an_unreadable_image_fails_its_sample_alone(checkout: Path, synthetic_root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for entry in synthetic_root.iterdir():
        if entry.name != "samples":
            (data / entry.name).symlink_to(entry)
    for folder in (synthetic_root / "samples").iterdir():
        (data / "samples" / folder.name).mkdir(parents=True)
        for image in folder.iterdir():
            (data / "samples" / folder.name / image.name).symlink_to(image)
    broken = min((data / "samples" / "CAM_FRONT").iterdir())
    broken.unlink()
    typed = _type_in(checkout, 'admlops run Tiny --data "$DATA" --run tiny || test $? = 2', DATA=str(data))
    assert typed.returncode == 0, typed.stderr
    shown = _type_in(checkout, "admlops results show tiny --json")
    assert json.loads(shown.stdout)["failures"] == {"data": 1}
