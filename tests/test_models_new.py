"""`admlops models new`: names, and that what it makes is a model that works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.typed import Typed, typed

from admlops.catalog import find_problems
from admlops.catalog.scaffold import CLASSES
from admlops.core.paths import find_layout

__all__ = ["typed"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without any model."""
    root = tmp_path / "checkout"
    (root / "envs" / "common").mkdir(parents=True)
    (root / "runners").symlink_to(find_layout().root / "runners")
    monkeypatch.setenv("ADMLOPS_PATH", str(root))
    monkeypatch.setenv("ADMLOPS_ENVIRONMENTS", str(tmp_path / "environments"))
    return root


def test_every_template_is_tried() -> None:
    assert set(CLASSES) == {"detection_3d", "vector_map"}


@pytest.mark.parametrize("task", ["detection_3d", pytest.param("vector_map", marks=pytest.mark.full)])
def test_a_new_model_works_as_it_is(typed: Typed, checkout: Path, synthetic_root: Path, task: str) -> None:
    made = typed("models", "new", "my-Net", "--task", task)
    assert (made.code, "next: admlops env install my-Net" in made.out) == (0, True)
    folder = checkout / "envs" / "my-Net"
    assert find_problems(folder / "model.toml") == []
    assert "class MyNet(Adapter):" in (folder / "demo.py").read_text()
    assert typed("env", "lock", "my-Net", "--check").code == 0
    assert typed("env", "install", "my-Net").code == 0
    checked = typed("check", "my-Net", "--data", synthetic_root, "--json")
    (result,) = json.loads(checked.out)
    assert (checked.code, result["works"]) == (0, True), checked.err


@pytest.mark.parametrize(
    "name", ["", "1net", "-x", "a b", "a/b", "../x", "x.y", "ä", "all", "Official", "common", "n" * 65, "a\n"]
)
def test_what_is_no_name_is_refused(typed: Typed, checkout: Path, name: str) -> None:
    said = typed("models", "new", "--", name)
    assert (said.code, said.out) == (2, "")
    assert "is no name of a model" in said.err
    assert sorted(path.name for path in (checkout / "envs").iterdir()) == ["common"]


def test_a_name_that_is_taken_in_any_case_is_refused(typed: Typed, checkout: Path) -> None:
    assert typed("models", "new", "Mine").code == 0
    before = (checkout / "envs" / "Mine" / "model.toml").read_text()
    for name in ("Mine", "mine"):
        said = typed("models", "new", name)
        assert (said.code, "there is a model Mine already" in said.err) == (2, True)
    (checkout / "envs" / "half").mkdir()
    assert typed("models", "new", "half").code == 2, "a folder without a model.toml is somebody's work too"
    assert (checkout / "envs" / "Mine" / "model.toml").read_text() == before


@pytest.mark.parametrize(("name", "called"), [("class", "class_"), ("Adapter", "Adapter_"), ("bev_net", "BevNet")])
def test_the_class_has_a_name_that_python_takes(typed: Typed, checkout: Path, name: str, called: str) -> None:
    assert typed("models", "new", name).code == 0
    text = (checkout / "envs" / name / "demo.py").read_text()
    compile(text, "demo.py", "exec")
    assert f"class {called}(Adapter):" in text
