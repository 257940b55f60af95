"""A file of weights is known by its content: which entry of the catalogue it is, and which config it is for."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints.torch_files import Tensor, pickled, write_legacy, write_safetensors, write_zip

from admlops.catalog import Model, load_model
from admlops.checkpoints import Usable, add, ensure_usable, find_config, inspect
from admlops.checkpoints.register import read_register
from admlops.core.errors import CheckpointError, UsageError
from admlops.core.paths import Layout
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import config_of_checkpoint

HEAD = """
name = "{name}"
summary = "Test."
tasks = ["vector_map"]
license = "MIT"
frame = "ego"
box_convention = "standard"
temporal = false
default_variant = "modern"
default_checkpoint = "{first}"
[source]
kind = "embedded"
[variants.modern]
python = ">=3.11"
backends = ["venv"]
requirements = "modern/requirements.txt"
[classes]
vector_map = ["divider"]
[configs]
"""
CHECKPOINT = """
[checkpoints.{name}]
config = "{name}"
file = "{name}.pth"
url = "https://hub.invalid/{name}.pth"
sha256_from = "first download"
"""


def write_model(root: Path, name: str, configs: list[str]) -> None:
    text = HEAD.format(name=name, first=configs[0])
    text += "".join(f'{config} = "configs/{name}_{config}.py"\n' for config in configs)
    text += "".join(CHECKPOINT.format(name=config) for config in configs)
    (root / "envs" / name).mkdir(parents=True)
    (root / "envs" / name / "model.toml").write_text(text)


@pytest.fixture
def place(tmp_path: Path, layout: Layout) -> Layout:
    """Two models: Stream with the configs default (6 queries), long and longer (both 9), and Vector with one."""
    root = tmp_path / "checkout"
    write_model(root, "Stream", ["default", "long", "longer"])
    write_model(root, "Vector", ["small"])
    return replace(layout, root=root)


def save(
    path: Path, *, queries: int = 6, prefix: str = "", meta: dict[str, Any] | None = None, write: Any = write_zip
) -> Path:
    """A checkpoint whose reference points differ by configuration, as StreamPETR's do; all its values are alike."""
    state = OrderedDict(
        {f"{prefix}backbone.weight": Tensor("0", 4), f"{prefix}reference_points.weight": Tensor("1", queries)}
    )
    write(path, pickled({"meta": meta or {}, "state_dict": state}), {"0": 4, "1": queries})
    return path


def stream(place: Layout) -> Model:
    return load_model(place, "Stream")


def put(place: Layout, model: str, name: str, file: Path) -> None:
    add(place, load_model(place, model), name, file, say=lambda line: None)


def use(place: Layout, file: Path, said: list[str] | None = None) -> Usable:
    return ensure_usable(place, stream(place), str(file), say=(said if said is not None else []).append)


def config(place: Layout, file: Path) -> str | None:
    return config_of_checkpoint(place, stream(place), use(place, file), say=lambda line: None)


def test_a_catalogued_file_under_another_name_is_that_one(place: Layout, tmp_path: Path) -> None:
    put(place, "Stream", "long", save(tmp_path / "long.pth", queries=9))
    said: list[str] = []
    copy = Path(shutil.copy(tmp_path / "long.pth", tmp_path / "default.pth"))  # the name of another one
    found = use(place, copy, said)
    assert found.name == "long"
    assert f"{copy} holds the weights of the catalogue's long" in said
    assert config(place, copy) == "long"
    by_name = ensure_usable(place, stream(place), "long", say=lambda line: None)
    assert (by_name.name, by_name.sha256) == (found.name, found.sha256)


def test_a_pinned_hash_is_enough(place: Layout, tmp_path: Path) -> None:
    file = save(tmp_path / "x.bin", queries=9)
    toml = place.envs / "Stream" / "model.toml"
    sha256 = use(place, file).sha256
    pinned = 'file = "longer.pth"\nsha256 = "' + sha256 + '"'
    text = toml.read_text().replace('file = "longer.pth"', pinned)
    toml.write_text(text)
    assert use(place, file).name == "longer"


@pytest.mark.parametrize("form", ["stripped", "prefixed", "legacy", "safetensors"])
def test_the_same_weights_in_another_form_are_the_same(place: Layout, tmp_path: Path, form: str) -> None:
    put(place, "Stream", "long", save(tmp_path / "long.pth", queries=9, meta={"epoch": 90}))
    if form == "safetensors":
        header = {
            "backbone.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "reference_points.weight": {"dtype": "F32", "shape": [9], "data_offsets": [16, 52]},
        }
        other = write_safetensors(tmp_path / "x.pth", header, b"\x01" * 52)
    else:
        write = write_legacy if form == "legacy" else write_zip
        other = save(tmp_path / "x.pth", queries=9, prefix="module." if form == "prefixed" else "", write=write)
    assert use(place, other).name == "long"


def test_weights_of_ones_own_have_the_config_of_their_shapes(place: Layout, tmp_path: Path) -> None:
    put(place, "Stream", "default", save(tmp_path / "a.pth"))
    put(place, "Stream", "long", save(tmp_path / "b.pth", queries=9))
    own = trained(tmp_path, queries=9)
    assert use(place, own).name is None
    found = find_config(place, stream(place), inspect(own).weights)
    assert found is not None
    assert found.name == "long"
    assert "names and shapes of those of long" in found.reason
    assert config(place, own) == "long"
    assert config(place, trained(tmp_path, queries=6)) == "default"
    assert config(place, trained(tmp_path, queries=7)) == "default", "the worker refuses it, and says what fits"


def trained(folder: Path, *, queries: int, meta: dict[str, Any] | None = None) -> Path:
    """Weights that are nobody's: as `save`, with one value changed."""
    path = save(folder / "own.pth", queries=queries, meta=meta, write=write_legacy)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def test_shapes_of_several_configs_are_not_guessed_from(place: Layout, tmp_path: Path) -> None:
    put(place, "Stream", "long", save(tmp_path / "a.pth", queries=9))
    put(place, "Stream", "longer", trained(tmp_path, queries=9).rename(tmp_path / "b.pth"))
    own = save(tmp_path / "own.pth", queries=9, meta={}, write=write_legacy)
    content = bytearray(own.read_bytes())
    content[-2] ^= 1
    own.write_bytes(content)
    with pytest.raises(CheckpointError, match="several configs of Stream: long, longer") as raised:
        config(place, own)
    assert "--config long" in raised.value.hint
    # One that the default config shares goes to it, and the others are said.
    put(place, "Stream", "default", own)
    found = find_config(place, stream(place), inspect(trained(tmp_path, queries=9)).weights)
    assert found is not None
    assert (found.name, "and of long and longer: --config chooses" in found.reason) == ("default", True)


@pytest.mark.parametrize(
    "meta",
    [
        {"exp_name": "Stream_long.py"},
        {"experiment_name": "Stream_long_20240102_030405"},
        {"exp_name": "a/Stream_long.py"},
    ],
)
def test_weights_that_name_their_config_have_it(place: Layout, tmp_path: Path, meta: dict[str, str]) -> None:
    assert config(place, trained(tmp_path, queries=9, meta=meta)) == "long"


def test_weights_that_say_nothing_have_the_default_config_and_it_is_said(place: Layout, tmp_path: Path) -> None:
    said: list[str] = []
    own = trained(tmp_path, queries=9, meta={"exp_name": "other.py"})
    assert config_of_checkpoint(place, stream(place), use(place, own), say=said.append) == "default"
    assert said == [f"config default, the default one: {own} does not say which it is for; --config chooses"]


def test_random_weights_have_the_default_config(place: Layout) -> None:
    assert RunRequest(model="Stream", data=Path(), weights="random:0").checkpoint is None
    assert config_of_checkpoint(place, stream(place), None, say=lambda line: None) == "default"


# --- what is added under a wrong name


def test_weights_of_another_model_are_refused(place: Layout, tmp_path: Path) -> None:
    put(place, "Stream", "default", save(tmp_path / "a.pth"))
    with pytest.raises(CheckpointError, match="is not Vector small: its weights are those of Stream default") as raised:
        put(place, "Vector", "small", tmp_path / "a.pth")
    assert f"admlops checkpoints add Stream default {tmp_path / 'a.pth'}" in raised.value.hint
    assert read_register(place.checkpoints / "Vector") == {}
    assert not list((place.checkpoints / "Vector").glob("*.pth"))


@pytest.mark.parametrize(("model", "name"), [("Vector", "small"), ("Stream", "default")])
def test_weights_that_say_that_they_are_anothers_are_refused(
    place: Layout, tmp_path: Path, model: str, name: str
) -> None:
    file = save(tmp_path / "a.pth", queries=9, meta={"exp_name": "Stream_long.py"})
    with pytest.raises(CheckpointError, match=r"trained with Stream_long.py, the config of Stream long") as raised:
        put(place, model, name, file)
    assert f"admlops checkpoints add Stream long {file}" in raised.value.hint
    assert "--replace" in raised.value.hint
    add(place, load_model(place, model), name, file, say=lambda line: None, replace=True)
    put(place, "Stream", "long", file)


# --- files of other kinds


@pytest.mark.parametrize("suffix", [".pth.tar", ".pt", ".ckpt", ".bin", ".safetensors", ""])
def test_a_suffix_is_no_format(place: Layout, tmp_path: Path, suffix: str) -> None:
    put(place, "Stream", "default", save(tmp_path / f"best{suffix}"))
    assert ensure_usable(place, stream(place), "default", say=lambda line: None).name == "default"


def test_a_refusal_names_the_file_that_was_given(place: Layout, tmp_path: Path) -> None:
    page = tmp_path / "weights.pth"
    page.write_text("<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>quota exceeded</html>")
    for act in (lambda: put(place, "Stream", "default", page), lambda: use(place, page)):
        with pytest.raises(CheckpointError) as raised:
            act()
        assert raised.value.message.startswith(
            f"{page} is no checkpoint: it is a web page, not weights: Google Drive's"
        )
    assert ".incoming" not in raised.value.message
    assert page.is_file()


def test_a_folder_and_a_file_that_is_not_there(place: Layout, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, not a file of weights"):
        put(place, "Stream", "default", tmp_path)
    with pytest.raises(UsageError, match="is a folder, not a file of weights"):
        use(place, tmp_path)
    with pytest.raises(UsageError, match="is no file that can be read: No such file"):
        put(place, "Stream", "default", tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="is no file that can be read: Not a directory"):
        put(place, "Stream", "default", save(tmp_path / "a.pth") / "b.pth")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user to become another one")
def test_a_folder_that_may_not_be_entered(place: Layout, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    file, model = save(locked / "w.pth"), stream(place)
    os.seteuid(12345)
    try:
        with pytest.raises(UsageError, match="is no file that can be read: Permission denied"):
            add(place, model, "default", file, say=lambda line: None)
        with pytest.raises(UsageError, match="is no file that can be read: Permission denied"):
            ensure_usable(place, model, str(file), say=lambda line: None)
    finally:
        os.seteuid(0)
