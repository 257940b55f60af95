"""An extension outside `runners/` adds one of each kind of thing, by registration alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ROOT = find_layout().root
HERE = Path(__file__).parent
PRODUCT = ("runners", "install", "envs", "pyproject.toml", "Makefile")
COLOURS = {"red": (250, 20, 10), "yellow": (240, 230, 10), "green": (10, 230, 40)}
SCENES = {"morning": ("red", "green", "yellow"), "evening": ("green", "green", "red")}


class Extended:
    """A copy of the product with one more model, and the extension on the import path."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        for name in PRODUCT:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, self.root / name, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source, self.root / name)
        shutil.copytree(HERE / "model", self.root / "envs" / "Lights")
        self.data = folder / "lights"
        self.variables = {
            **os.environ,
            "ADMLOPS_PATH": str(self.root),
            "ADMLOPS_REP_PATH": str(folder / "repository"),
            "ADMLOPS_ENVIRONMENTS": str(folder / "environments"),
            "PYTHONPATH": os.pathsep.join([str(HERE / "site"), str(self.root / "runners")]),
        }
        self._draw()

    def _draw(self) -> None:
        states = {}
        for scene, lights in SCENES.items():
            (self.data / scene).mkdir(parents=True)
            for number, state in enumerate(lights):
                states[f"{scene}/{number}"] = state
                pixels = bytes(COLOURS[state]) * 16
                (self.data / scene / f"{number}.ppm").write_bytes(b"P6\n4 4\n255\n" + pixels)
        # What is annotated need not be what is drawn: one answer of six is wrong.
        states["evening/0"] = "red"
        (self.data / "lights.json").write_text(json.dumps(states))

    def admlops(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "admlops", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.variables,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    return Extended(tmp_path_factory.mktemp("extended"))


def test_an_extension_runs_evaluates_compares_and_reports(extended: Extended, tmp_path: Path) -> None:
    ran = extended.admlops(
        "run", "Lights", "--data", extended.data, "--run", "first", "--executor", "in-turn", "--runtime", "counting"
    )
    assert "6 samples ok, 0 failed" in ran.stdout
    run = Path(extended.variables["ADMLOPS_REP_PATH"]) / "runs" / "first"
    header = json.loads((run / "run.json").read_text())
    assert (header["runtime"], header["options"]["executor"]) == ("counting", "in-turn")
    assert "plain Python on cpu" in (run / "events.jsonl").read_text()
    assert json.loads((run / "records" / "morning.jsonl").read_text().splitlines()[0])["traffic_light"] == {
        "state": "red",
        "confidence": pytest.approx(250 / 255),
    }

    evaluated = json.loads(extended.admlops("evaluate", "first", "--json").stdout)
    values = {one["name"]: one["value"] for one in evaluated["metrics"] if one["protocol"] == "lights.accuracy"}
    assert values == {"accuracy": 5 / 6, "accuracy_red": 2 / 3, "accuracy_yellow": 1.0, "accuracy_green": 1.0}
    extended.admlops("results", "verify", "first")

    out = tmp_path / "comparison"
    shown = extended.admlops("compare", "--models", "Lights", "--data", extended.data, "--out", out)
    assert "0.833" in shown.stdout
    summary = json.loads((out / "comparison_summary.json").read_text())
    assert summary["models"][0]["state"] == "ready"
    assert {ranking["protocol"] for ranking in summary["rankings"]} == {"lights.accuracy"}

    extended.admlops("report", "first")
    page = (run / "report.html").read_text()
    assert ">lights.accuracy</th>" in page
    assert "n 6<br>" in page
    assert "0.833" in page


def test_what_an_extension_gets_wrong_is_named(extended: Extended, tmp_path: Path) -> None:
    for option, kind, known in (("--executor", "executor", "in-turn"), ("--runtime", "runtime", "counting")):
        said = extended.admlops("run", "Lights", "--data", extended.data, option, "slurm", code=2).stderr
        assert f"there is no {kind} 'slurm'" in said
        assert known in said
    text = (HERE / "model" / "model.toml").read_text()
    for wrong, key in (
        (text.replace('"traffic_light_state"]', '"traffic_signs"]'), "tasks[0]"),
        (text.replace('["light-pictures"]', '["dark-pictures"]'), "reads[0]"),
        (text.replace('["plain"]', '["apt"]'), "variants.modern.installers"),
        (text.replace('"yellow", "green"]', '"blue"]'), "classes.traffic_light_state"),
    ):
        folder = tmp_path / key / "Lights"
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(wrong)
        said = extended.admlops("models", "validate", "--config", folder / "model.toml", code=2).stderr
        assert key in said
        assert "Traceback" not in said


def test_no_file_of_the_product_was_touched(extended: Extended) -> None:
    """The copy that ran the extension differs from the product by the model's own folder, which is data of its own."""

    def digests(root: Path) -> dict[str, str]:
        files = (path for name in PRODUCT for path in [root / name, *(root / name).rglob("*")])
        kept = (path for path in files if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}

    ours, theirs = digests(ROOT), digests(extended.root)
    touched = {name for name, digest in theirs.items() if ours.get(name) != digest}
    assert {name for name in touched if not name.startswith("envs/Lights/")} == set()
    words = ("traffic_light_state", "light-pictures", "in-turn", "admlops_lights")
    naming = [name for name in ours if name.endswith(".py") for word in words if word in (ROOT / name).read_text()]
    assert naming == [], "the product knows nothing of the extension"
