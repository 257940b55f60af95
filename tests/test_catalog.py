"""The catalogue: every model of the checkout is valid, and every mistake is named by file and key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.documents import key_paths

from admlops.catalog import (
    PROTOCOLS,
    describe,
    find_problems,
    list_models,
    load_model,
    read_model,
)
from admlops.core.errors import CatalogError
from admlops.core.paths import Layout, find_layout
from admlops.environments import Environment
from admlops.pipeline.readiness import find_readiness

MAIN_MODELS = ["BEVFusion", "CenterPoint", "GroundPlane", "MapTR", "NanoDet", "PETR", "PETR-mmdet3d", "PointPillars"]
MAIN_MODELS += ["StreamPETR", "TopoMLP", "VAD", "YOLOX"]


def _document(name: str = "VAD") -> dict[str, Any]:
    return tomlkit.parse((find_layout().envs / name / "model.toml").read_text()).unwrap()


def _write(folder: Path, document: dict[str, Any]) -> Path:
    file = folder / "VAD" / "model.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(tomlkit.dumps(document))
    return file


@pytest.mark.parametrize("name", MAIN_MODELS)
def test_every_main_model_is_valid(name: str) -> None:
    assert name in list_models(find_layout())
    model = load_model(find_layout(), name)
    assert model.name == name
    assert model.adapter == find_layout().envs / name / "demo.py"
    assert all(variant.requirements.is_absolute() for variant in model.variants.values())


@pytest.mark.parametrize("name", MAIN_MODELS)
def test_published_scores_are_fractions_and_belong_to_their_protocol(name: str) -> None:
    for claim in load_model(find_layout(), name).published:
        assert claim.metric in PROTOCOLS[claim.protocol]
        if claim.metric.startswith(("mAP", "NDS", "OLS", "DET", "TOP", "collision")):
            assert 0 < claim.value < 1, claim


def test_vad_weights_need_their_own_image_normalisation() -> None:
    model = load_model(find_layout(), "VAD")
    for checkpoint in model.checkpoints.values():
        (fix,) = (model.fixes[name] for name in checkpoint.fixes)
        assert fix.settings["img_norm_cfg"] == {"mean": [103.53, 116.28, 123.675], "std": [1, 1, 1], "to_rgb": False}


def test_a_configuration_may_look_at_other_sensors_than_its_model() -> None:
    model = load_model(find_layout(), "BEVFusion")
    assert model.sensors_of(None) == model.sensors_of("lidar-cam") == ("camera", "lidar")
    assert model.sensors_of("lidar") == model.sensors_of(f"/source/{model.configs['lidar']}") == ("lidar",)
    assert model.sensors_of("/home/me/own.py") == ("camera", "lidar")
    assert load_model(find_layout(), "MapTR").sensors_of(None) == ("camera",)


def test_a_model_cannot_be_changed() -> None:
    model = load_model(find_layout(), "VAD")
    with pytest.raises(ValidationError, match="frozen"):
        model.name = "other"


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        table: Any = document
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        table: Any = document
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]

    return change


MISTAKES = [
    (_drop("tasks"), "tasks", "is missing: a list of tasks"),
    (_set("task", to=["planning"]), "task", "is not a known key here; known are name, summary, tasks"),
    (_set("tasks", 0, to="detection"), "tasks[0]", 'not "detection"'),
    (_set("tasks", to=[]), "tasks", "must be a list of tasks"),
    (_set("temporal", to="yes"), "temporal", 'not "yes"'),
    (_set("name", to="Vad"), "name", 'must be the folder\'s name, "VAD"'),
    (_set("folder", to="/"), "folder", "is not a key of a model"),
    (_set("default_variant", to="newest"), "default_variant", "(modern, classic)"),
    (_set("protocols", to=["vad.detection"]), "protocols[0]", 'not "vad.detection"'),
    (_set("default_checkpoint", to="huge"), "default_checkpoint", "(tiny, base)"),
    (_set("source", "commit", to="1688c4b"), "source.commit", "40 lower-case hexadecimal digits"),
    (_drop("source", "commit"), "source.commit", 'a source of kind "git" needs it'),
    (_set("source", "kind", to="embedded"), "source.repository", "must be absent"),
    (_set("source", to="git"), "source", "must be a [source] table"),
    (_set("variants", to={}), "variants", "at least one"),
    (_set("variants", "modern", "installers", to=["docker"]), "variants.modern.installers[0]", 'not "docker"'),
    (_set("variants", "modern", "python", to="three"), "variants.modern.python", "a version specifier"),
    (_set("variants", "modern", "arch", to=["sm90"]), "variants.modern.arch[0]", "sm_90"),
    (_set("variants", "modern", "arch", to=["sm_90"] * 2), "variants.modern.arch", "twice"),
    (_set("variants", "modern", "requirements", to="../x.txt"), "variants.modern.requirements", "inside the model's"),
    (_set("variants", "modern", "requirements", to="/x.txt"), "variants.modern.requirements", "inside the model's"),
    (_set("variants", "modern", "conda_lock", to="../x.yml"), "variants.modern.conda_lock", "inside the model's"),
    (_drop("variants", "modern", "conda_lock"), "variants.modern.conda_lock", 'is missing: the installer "conda"'),
    (_set("variants", "modern", "installers", to=["venv"]), "variants.modern.conda_lock", "must be absent"),
    (_set("variants", "modern", "driver", to="525+"), "variants.modern.driver", "a version specifier"),
    (_set("variants", "modern", "devices", to=["tpu"]), "variants.modern.devices[0]", 'not "tpu"'),
    (_drop("variants", "modern", "devices"), "variants.modern.devices", "built for a device"),
    (_set("variants", "modern", "smoke", to=["os; import x"]), "variants.modern.smoke[0]", "modules that must import"),
    (_drop("variants", "classic", "requirements"), "variants.classic.requirements", "is missing: the hashed"),
    (_set("checkpoints", "tiny", "sha256", to="12"), "checkpoints.tiny.sha256", "64 lower-case hexadecimal"),
    (_set("checkpoints", "tiny", "sha256", to="A" * 64), "checkpoints.tiny.sha256", "64 lower-case hexadecimal"),
    (_drop("checkpoints", "tiny", "sha256_from"), "checkpoints.tiny.sha256", 'sha256_from = "first download"'),
    (_set("checkpoints", "tiny", "config", to="small"), "checkpoints.tiny.config", "(tiny, base)"),
    (
        _set("checkpoints", "tiny", "fixes", to=["rgb"]),
        "checkpoints.tiny.fixes",
        "(bgr-normalisation, command-from-driven-path)",
    ),
    (_set("checkpoints", "tiny", "file", to="../../x.pth"), "checkpoints.tiny.file", "the file's name"),
    (
        _set("checkpoints", "tiny", "url", to="https://a/b"),
        "checkpoints.tiny",
        "one of url, google_drive, npm and trained_by",
    ),
    (_set("checkpoints", "tiny", "url", to="http://a/b"), "checkpoints.tiny.url", "an https address"),
    (_set("checkpoints", "tiny", "size_bytes", to=-1), "checkpoints.tiny.size_bytes", "not -1"),
    (_set("classes", "detection_3d", 0, to="lorry"), "classes.detection_3d", '"lorry", which is none of car'),
    (_set("classes", "detection_3d", 1, to="car"), "classes.detection_3d", 'names "car" twice'),
    (_drop("classes", "vector_map"), "classes.vector_map", "is missing"),
    (_set("published", 0, "protocol", to="vad.planning"), "published[0].protocol", "must be one of"),
    (_set("published", 0, "metric", to="mAP"), "published[0].metric", "must be a metric of stp3.planning"),
    (_set("published", 8, "metric", to="mAP"), "published[8].metric", "latency.batch1 (FPS)"),
    (_drop("published", 8, "device"), "published[8].device", "nothing without the GPU"),
    (_set("published", 0, "checkpoint", to="huge"), "published[0].checkpoint", "(tiny, base)"),
    (_drop("published", 0, "checkpoint"), "published[0]", "exactly one of checkpoint and config"),
    (_set("published", 0, "value", to=float("nan")), "published[0].value", "fractions"),
    (_set("published", 0, "value", to="0.5"), "published[0].value", 'not "0.5"'),
    (_set("sensors", to=["radar"]), "sensors[0]", 'not "radar"'),
    (_set("config_sensors", to={"huge": ["lidar"]}), "config_sensors.huge", "(tiny, base)"),
]

DETECTOR_MISTAKES = [
    (_drop("detection_2d", "operating_threshold"), "detection_2d.operating_threshold", "is missing: the confidence"),
    (_set("detection_2d", "operating_threshold", to=35), "detection_2d.operating_threshold", "not 35"),
    (_set("detection_2d", "nms_iou", to=-0.1), "detection_2d.nms_iou", "not -0.1"),
    (_set("detection_2d", "min_confidence", to=0.5), "detection_2d.operating_threshold", "min_confidence (0.5)"),
    (_set("detection_2d", "threshold", to=0.5), "detection_2d.threshold", "known are operating_threshold, nms_iou"),
    (_set("batches", to=True), "batches", "must be absent: a temporal model's samples"),
    (_set("tasks", to=["planning"]), "detection_2d", 'must be absent: "detection_2d" is not among the tasks'),
]


def _with_boxes_in_images(document: dict[str, Any]) -> dict[str, Any]:
    document["tasks"].append("detection_2d")
    document["classes"]["detection_2d"] = ["car"]
    document["temporal"] = True
    document["detection_2d"] = {"operating_threshold": 0.35, "nms_iou": 0.6, "min_confidence": 0.001}
    return document


def test_a_detector_in_images_states_its_operating_threshold(tmp_path: Path) -> None:
    stated = read_model(_write(tmp_path, _with_boxes_in_images(_document()))).detection_2d
    assert stated is not None
    assert (stated.operating_threshold, stated.nms_iou, stated.min_confidence) == (0.35, 0.6, 0.001)


@pytest.mark.parametrize(("change", "key", "expected"), DETECTOR_MISTAKES, ids=[key for _, key, _ in DETECTOR_MISTAKES])
def test_a_mistake_in_a_detectors_table_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str, expected: str
) -> None:
    document = _with_boxes_in_images(_document())
    change(document)
    problems = find_problems(_write(tmp_path, document))
    assert expected in next(problem.expected for problem in problems if problem.key == key)


@pytest.mark.parametrize(
    ("change", "key", "expected"), MISTAKES, ids=[f"{key}-{i}" for i, (_, key, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_named_by_file_and_key(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str, expected: str
) -> None:
    document = _document()
    change(document)
    file = _write(tmp_path, document)
    with pytest.raises(CatalogError) as caught:
        read_model(file)
    lines = caught.value.message.splitlines()
    (line,) = (one for one in lines if one.startswith(f"{file}: {key} "))
    assert expected in line
    assert "admlops models validate --config" in caught.value.hint


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    document = _document()
    del document["summary"]
    document["source"]["commit"] = "main"
    document["checkpoints"]["tiny"]["colour"] = "red"
    keys = [problem.key for problem in find_problems(_write(tmp_path, document))]
    assert sorted(keys) == ["checkpoints.tiny.colour", "source.commit", "summary"]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'name = "VAD"\nsummary = \n', ":2:11"),
        (b'name = "VAD"\nname = "VAD"\n', ":2:"),
        (b'name = "VAD"\n[source', ":2:8"),
        (b'name = "VAD"\nsummary = "\xff"\n', ":2:12"),
    ],
)
def test_broken_toml_is_named_by_line_and_column(tmp_path: Path, content: bytes, where: str) -> None:
    file = tmp_path / "model.toml"
    file.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        read_model(file)
    assert caught.value.message.startswith(f"{file}{where}")
    assert "pydantic" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"model\.toml: cannot be read: No such file"):
        read_model(tmp_path / "model.toml")


JSON_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(key_paths(_document())), JSON_VALUES)
def test_any_value_anywhere_gives_a_model_or_readable_problems(
    tmp_path: Path, path: tuple[str | int, ...], value: Any
) -> None:
    document = _document()
    _set(*path, to=value)(document)
    file = _write(tmp_path, document)
    for problem in find_problems(file):
        text = describe(file, problem)
        assert text.startswith(f"{file}: ")
        assert "pydantic" not in text
        assert "Input should" not in text
        assert len(text) < 1000


def test_a_config_that_does_not_run_is_one_of_the_file_and_not_the_usual_one(tmp_path: Path) -> None:
    document = _document()
    usual = document["checkpoints"][document["default_checkpoint"]]["config"]
    document["not_runnable"] = {"nothing": "it is not there", usual: "it cannot"}
    problems = {problem.key: problem.expected for problem in find_problems(_write(tmp_path, document))}
    assert "must name a config of this file" in problems["not_runnable.nothing"]
    assert "must be one that runs" in problems["default_checkpoint"]


def test_what_moved_away_is_no_longer_here(tmp_path: Path) -> None:
    document = tomlkit.parse((find_layout().envs / "PETR" / "model.toml").read_text()).unwrap()
    assert document["moved"] == {"petrv2-vovnet-p4-800x320": "PETRv2"}
    document["moved"] = {"r50dcn-p4": "PETRv2"}
    problems = {problem.key: problem.expected for problem in find_problems(_write(tmp_path, document))}
    assert "must be absent" in problems["moved.r50dcn-p4"]


def test_an_unknown_model_suggests_the_near_one() -> None:
    with pytest.raises(CatalogError, match="did you mean MapTR") as caught:
        load_model(find_layout(), "maptr")
    assert caught.value.hint == "admlops models list"


@pytest.mark.parametrize("name", ["", ".", "..", "../envs/VAD", "official", "official/nuscenes", "VAD/"])
def test_a_name_is_not_a_path(name: str) -> None:
    with pytest.raises(CatalogError, match="no model is called"):
        load_model(find_layout(), name)


def _layout_with(tmp_path: Path, name: str, document: dict[str, Any]) -> Layout:
    layout = replace(find_layout(), root=tmp_path, repository=tmp_path / "repository", environments=tmp_path / "built")
    (layout.envs / name).mkdir(parents=True)
    (layout.envs / name / "model.toml").write_text(tomlkit.dumps(document))
    return layout


def test_folders_without_a_model_are_not_listed(tmp_path: Path) -> None:
    layout = _layout_with(tmp_path, "VAD", _document())
    (layout.envs / "notes").mkdir()
    (layout.envs / "official").mkdir()
    (layout.envs / "official" / "model.toml").write_text("")
    assert list_models(layout) == ["VAD"]


def test_the_status_names_the_first_missing_part(tmp_path: Path) -> None:
    layout = _layout_with(tmp_path, "VAD", _document())
    model = load_model(layout, "VAD")
    assert str(find_readiness(layout, model)) == "not set up: no lock for the variant modern"
    lock = model.variants["modern"].requirements
    lock.parent.mkdir()
    lock.write_text("")
    assert str(find_readiness(layout, model)) == "not set up: no source in submodules/VAD"
    (layout.submodules / "VAD").mkdir(parents=True)
    assert str(find_readiness(layout, model)) == "not set up: no source in submodules/VAD"
    (layout.submodules / "VAD" / "README.md").write_text("")
    assert str(find_readiness(layout, model)) == "not set up: no source in submodules/mmdetection3d-0.17.2"
    (layout.submodules / "mmdetection3d-0.17.2" / "mmdet3d").mkdir(parents=True)
    assert str(find_readiness(layout, model)) == "not set up: no adapter demo.py"
    model.adapter.write_text("")
    assert str(find_readiness(layout, model)) == "not set up: the environment of the variant modern is not built"
    assert str(find_readiness(layout, model, "classic")) == "not set up: no lock for the variant classic"
    assert find_readiness(layout, model).hint == "make setup-VAD"
    assert find_readiness(layout, model, "modern").hint == "admlops env install VAD --variant modern"
    assert find_readiness(layout, model, "classic").hint == "admlops env lock VAD --variant classic"
    with pytest.raises(CatalogError, match='no variant "newest"'):
        find_readiness(layout, model, "newest")


def test_the_embedded_model_is_ready_once_built(groundplane_environment: Environment) -> None:
    assert groundplane_environment.python.is_file()
    assert str(find_readiness(find_layout(), load_model(find_layout(), "GroundPlane"))) == "ready"


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, admlops.cli.models, admlops.cli.results; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "rich", "duckdb", "numpy", "msgspec"} & set(loaded)
