"""A copy of a configuration outside the source finds what it builds on, or says what it lacks."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from worker.mmlab.custom_config import ConfigError, adapt_bases, is_outside
from worker.mmlab.v1.network import copied_in, import_plugin

CONFIG = """_base_ = [
    '../datasets/nus.py',
    '../../library/runtime.py'
]
plugin = True
plugin_dir = 'projects/plugin/'
model = dict(type='Tiny')
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's source with a configuration and its bases; the working folder, as in a worker."""
    root = tmp_path / "source"
    for name, text in {
        "projects/configs/tiny/tiny.py": CONFIG,
        "projects/configs/datasets/nus.py": "data = 1\n",
        "projects/library/runtime.py": "runtime = 1\n",
        "mmdetection3d/configs/a.py": "a = 1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    return root


def run_config(path: str) -> dict[str, Any]:
    """The variables of a configuration, its bases first, resolved as mmcv does it: by the path's text."""
    variables: dict[str, Any] = {}
    exec(Path(path).read_text(), variables)
    for base in variables.get("_base_", []):
        variables = {**run_config(os.path.normpath(Path(path).parent / base)), **variables}
    return variables


def test_a_copy_elsewhere_builds_on_the_sources_bases(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine" / "edited.py"
    copy.parent.mkdir()
    copy.write_text(CONFIG.replace("Tiny", "Edited"))
    assert is_outside(str(copy), str(source))
    assert not is_outside(str(source / "projects/configs/tiny/tiny.py"), str(source))
    with copied_in(str(copy), ["projects/configs/tiny"]) as found:
        variables = run_config(found)
    assert (variables["model"], variables["data"], variables["runtime"]) == ({"type": "Edited"}, 1, 1)
    assert sorted(path.name for path in source.iterdir()) == ["mmdetection3d", "projects"], "the source is as it was"
    assert not Path(found).exists()


def test_what_lies_beside_the_copy_comes_first(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text("data = 'own'\n")
    copy = tmp_path / "mine" / "edited.py"
    copy.write_text("_base_ = 'own.py'\nmodel = 2\n")
    with copied_in(str(copy), ["projects/configs/tiny"]) as found:
        assert run_config(found)["data"] == "own"
    copy.write_text("model = 2\n")
    assert adapt_bases(str(copy), []) == "model = 2\n"


def test_a_base_that_is_nowhere_is_named_with_the_places(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "edited.py"
    copy.write_text("_base_ = ['../gone.py']\n")
    with pytest.raises(ConfigError, match=r"edited.py builds on ../gone.py, which is not there: looked for .*gone.py"):
        adapt_bases(str(copy), ["/elsewhere/tiny"])


@pytest.mark.parametrize(("text", "words"), [("model = (", "cannot be read"), ("_base_ = find()\n", "no text or list")])
def test_a_config_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    copy = tmp_path / "edited.py"
    copy.write_text(text)
    with pytest.raises(ConfigError, match=words):
        adapt_bases(str(copy), [])


def test_a_copy_elsewhere_without_a_plugin_folder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no plugin_dir"):
        import_plugin({"plugin": True}, "../mine/edited.py")
    module = types.ModuleType("projects.plugin")
    monkeypatch.setitem(sys.modules, "projects", types.ModuleType("projects"))
    monkeypatch.setitem(sys.modules, "projects.plugin", module)
    import_plugin({"plugin": True, "plugin_dir": "projects/plugin/"}, "../mine/edited.py")
