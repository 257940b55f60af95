"""Configurations are read as text: their plain variables, and a digest over all that they take up."""

from __future__ import annotations

from pathlib import Path

import pytest

from admlops.core.errors import UsageError
from admlops.pipeline.config_text import config_sha256, read_variables
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader, find_difference


def test_plain_variables_are_read_and_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = "a = dict(b=[1, -2.5], c=(True, None), d={'e': 'f'})\ng = open('x')\nh = 1\nh = g\n"
    text += f"open({str(marker)!r}, 'w')\n"
    assert read_variables(text) == {"a": {"b": [1, -2.5], "c": [True, None], "d": {"e": "f"}}}
    assert not marker.exists()
    assert read_variables("no Python (") == {}
    assert read_variables("x = " + "-" * 100_000 + "1") == {}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that takes up two others, one through the other."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "one.py").write_text("_base_ = './two.py'\n")
    (tmp_path / "base" / "two.py").write_text("scale = 1\n")
    path = tmp_path / "own.py"
    path.write_text("_base_ = ['base/one.py', '../not/here.py']\nscore = 0.1\n")
    return path


@pytest.mark.parametrize("name", ["own.py", "base/one.py", "base/two.py"])
def test_the_digest_changes_with_every_file_of_a_configuration(config: Path, name: str) -> None:
    before = config_sha256(str(config))
    assert before == config_sha256(str(config))
    file = config.parent / name
    file.write_text(file.read_text() + "# more\n")
    assert config_sha256(str(config)) != before


def test_the_digest_is_of_the_content_and_not_of_the_place(config: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.py").write_text(config.read_text())
    assert config_sha256(str(tmp_path / "copy.py")) == config_sha256(str(config))


def test_a_circle_ends_and_what_is_not_there_has_no_digest(config: Path) -> None:
    (config.parent / "base" / "two.py").write_text("_base_ = '../own.py'\n")
    assert config_sha256(str(config))
    assert config_sha256(None) is None
    assert config_sha256(str(config.parent / "absent.py")) is None
    with pytest.raises(UsageError, match="cannot be read"):
        config_sha256(str(config.parent))


def header(config: str, checkpoint: str, *, contents: tuple[str | None, str | None]) -> RunHeader:
    return RunHeader(
        run="one",
        model="VAD",
        variant="modern",
        environment=EnvironmentInfo(name="VAD-modern", digest="d" * 64, backend="venv", python="3.11"),
        data=DataInfo(root="/data", version="v1.0-mini", split=None, samples_sha256="5a", synthetic=True),
        provenance=Provenance(
            commit=None, admlops="0.1.0", host="pod", config_sha256=contents[0], checkpoint_sha256=contents[1]
        ),
        scenes={"scene-0916": 2},
        settings={"config": config, "checkpoint": checkpoint, "options": {"fixes": {}}},
        created="2026-01-02T03:04:05+00:00",
    )


def test_an_edited_configuration_is_a_difference_that_names_the_file() -> None:
    before = header("/mine/config.py", "/w.pth", contents=("a" * 64, "c" * 64))
    assert find_difference(before, before) is None
    edited = header("/mine/config.py", "/w.pth", contents=("b" * 64, "c" * 64))
    assert find_difference(before, edited) == ("the content of /mine/config.py", "a" * 64, "b" * 64)


def test_where_a_file_lies_is_none() -> None:
    before = header("/mine/config.py", "/w.pth", contents=("a" * 64, "c" * 64))
    assert find_difference(before, header("/other/copy.py", "/x/y.bin", contents=("a" * 64, "c" * 64))) is None
    other = find_difference(before, header("/mine/config.py", "/w.pth", contents=("a" * 64, "d" * 64)))
    assert other is not None
    assert other[0] == "provenance.checkpoint_sha256"


def test_a_run_from_before_contents_were_recorded_is_compared_by_paths() -> None:
    before = header("/mine/config.py", "/w.pth", contents=(None, "c" * 64))
    assert find_difference(before, header("/mine/config.py", "/w.pth", contents=("a" * 64, "c" * 64))) is None
    other = find_difference(before, header("/mine/other.py", "/w.pth", contents=("a" * 64, "c" * 64)))
    assert other == ("settings.config", "/mine/config.py", "/mine/other.py")
