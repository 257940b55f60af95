"""The folder of exported networks: written whole or not at all, found by names, removed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.core.errors import RecordError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.deployment.artifacts import (
    Artifact,
    add_verification,
    artifact_key,
    describe_verification,
    find_artifact,
    find_verification,
    is_verified,
    keep_artifact,
    list_artifacts,
    new_artifact,
    remove_artifact,
    require_whole,
)
from admlops.deployment.engines import parse_engine, split_checkpoint, split_contender
from admlops.deployment.manifest import ExportSource, Manifest, read_manifest
from admlops.pipeline.artifact_choice import choose_artifact
from admlops.pipeline.config_text import config_sha256
from admlops.pipeline.run_engine import find_engine
from admlops.pipeline.run_request import RunRequest

CONTENT = b"a network"


def make_manifest(key: str, *, created: str = "2026-01-01T00:00:00+00:00", **source: object) -> Manifest:
    return Manifest(
        model="CalibrationStatus",
        key=key,
        form="default",
        kind="onnx",
        precision="auto",
        file="network.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
        opset=17,
        exporter="by hand",
        versions={},
        source=msgspec.convert({"variant": "modern", "environment": "", "adapter": "", **source}, ExportSource),
        inputs=[],
        outputs=[],
        carried={},
        verdicts={},
        created=created,
    )


def keep(layout: Layout, manifest: Manifest) -> Artifact:
    with new_artifact(layout, manifest.model) as folder:
        (folder / manifest.file).write_bytes(CONTENT)
        return keep_artifact(layout, folder, manifest)


def test_an_export_that_fails_leaves_nothing(layout: Layout) -> None:
    def export() -> None:
        with new_artifact(layout, "CalibrationStatus") as folder:
            (folder / "network.onnx").write_bytes(CONTENT)
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        export()
    assert list_artifacts(layout) == []
    assert list((layout.exported / "CalibrationStatus").iterdir()) == []


def test_what_is_kept_is_found_by_name_and_by_the_beginning_of_its_key(layout: Layout) -> None:
    kept = keep(layout, make_manifest("aaaa000000000000"))
    keep(layout, make_manifest("bbbb000000000000"))
    assert find_artifact(layout, "aaaa").manifest == find_artifact(layout, kept.name).manifest == kept.manifest
    with pytest.raises(UsageError, match="no exported network is called cccc"):
        find_artifact(layout, "cccc")
    remove_artifact(kept.folder)
    assert [one.manifest.key for one in list_artifacts(layout)] == ["bbbb000000000000"]


def test_a_file_that_was_changed_is_refused(layout: Layout) -> None:
    kept = keep(layout, make_manifest("aaaa000000000000"))
    require_whole(kept)
    kept.file.write_bytes(b"another")
    with pytest.raises(UsageError, match="sha256 differs"):
        require_whole(kept)


@pytest.mark.parametrize(
    ("source", "changes", "options"),
    [
        ({}, {}, ""),
        ({"weights": "random:3", "config": "small"}, {}, " --weights random:3 --config small"),
        (
            {"checkpoint": "best", "checkpoint_sha256": "0" * 64},
            {"form": "gathers"},
            " --checkpoint best --form gathers",
        ),
        (
            {"checkpoint_sha256": "0" * 64, "config": "/my configs/a.py"},
            {},
            " --checkpoint FILE --config '/my configs/a.py'",
        ),
        ({"weights": "random:3"}, {"precision": "fp16"}, " --weights random:3 --precision fp16"),
        ({"weights": "random:3"}, {"precision": "fp32"}, " --weights random:3 --precision fp32"),
    ],
)
def test_a_file_that_is_gone_names_the_command_that_exports_it_again(
    layout: Layout, source: dict[str, str], changes: dict[str, str], options: str
) -> None:
    kept = keep(layout, msgspec.structs.replace(make_manifest("aaaa000000000000", **source), **changes))
    kept.file.unlink()
    with pytest.raises(UsageError, match="is missing") as refused:
        require_whole(kept)
    assert refused.value.hint == f"admlops export CalibrationStatus --to onnx{options} --fresh"


def test_a_broken_manifest_stops_no_other_network_and_is_removed_by_name(typed: Typed, layout: Layout) -> None:
    kept = keep(layout, make_manifest("aaaa000000000000"))
    broken = layout.exported / "CalibrationStatus" / "bbbb000000000000"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    assert [one.folder for one in list_artifacts(layout)] == [kept.folder]
    listed = typed("exported", "list", "CalibrationStatus")
    assert (listed.code, "aaaa000000000000" in listed.out) == (0, True), listed.err
    assert "admlops exported remove CalibrationStatus/bbbb000000000000 removes it" in listed.err
    removed = typed("exported", "remove", "CalibrationStatus/bbbb000000000000")
    assert (removed.code, removed.out.strip()) == (0, "removed CalibrationStatus/bbbb000000000000"), removed.err
    assert [one.name for one in broken.parent.iterdir()] == ["aaaa000000000000"]


def test_a_manifest_of_another_schema_is_refused(layout: Layout) -> None:
    kept = keep(layout, make_manifest("aaaa000000000000"))
    file = kept.folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 2}))
    with pytest.raises(RecordError, match="schema"):
        read_manifest(file)


def test_the_last_verification_of_the_same_file_and_provider_counts(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    for passed in (False, True):
        add_verification(tmp_path, {"sha256": sha256, "provider": "CPUExecutionProvider", "passed": passed})
        assert is_verified(tmp_path, sha256=sha256, provider="CPUExecutionProvider") is passed
    assert not is_verified(tmp_path, sha256=sha256, provider="CUDAExecutionProvider")
    assert not is_verified(tmp_path, sha256="0" * 64, provider="CPUExecutionProvider")


def test_a_verification_is_of_one_device_and_one_version_of_the_runtime(tmp_path: Path) -> None:
    where: dict[str, Any] = {"sha256": "0" * 64, "provider": "CUDAExecutionProvider"}
    add_verification(tmp_path, {**where, "device": "V100", "versions": {"onnxruntime-gpu": "1.24.4"}, "passed": True})
    right: dict[str, Any] = {"device": "V100", "versions": {"onnxruntime-gpu": "1.24.4"}}
    assert is_verified(tmp_path, **where, **right)
    assert not is_verified(tmp_path, **where, **{**right, "device": "A10"})
    assert not is_verified(tmp_path, **where, **{**right, "versions": {"onnxruntime-gpu": "1.25.0"}})


def test_an_engine_means_the_weights_that_are_named(layout: Layout) -> None:
    model = load_model(layout, "CalibrationStatus")
    keep(layout, make_manifest("aaaa000000000000", weights="random:0"))

    def chosen(**named: str) -> str:
        request = RunRequest(model=model.name, data=layout.data, engine="onnx", **named)  # type: ignore[arg-type]
        return choose_artifact(layout, model, request, parse_engine("onnx")).manifest.key

    assert chosen() == "aaaa000000000000"
    keep(layout, make_manifest("bbbb000000000000", weights="random:1"))
    with pytest.raises(UsageError, match="no single exported network"):
        chosen()
    assert chosen(weights="random:1") == "bbbb000000000000"
    keep(layout, make_manifest("cccc000000000000", checkpoint="trained", checkpoint_sha256="0" * 64))
    keep(layout, make_manifest("dddd000000000000", created="2026-01-02T00:00:00+00:00", checkpoint="trained"))
    assert chosen() == "dddd000000000000", "the catalogue's weights, and the newest of them"
    assert chosen(weights="random:0") == "aaaa000000000000"
    with pytest.raises(UsageError, match="of random:7"):
        chosen(weights="random:7")


def test_an_export_of_other_code_is_refused_by_name_and_said_by_path(layout: Layout) -> None:
    model = load_model(layout, "CalibrationStatus")
    old = keep(layout, make_manifest("aaaa000000000000", weights="random:0", code="0" * 64))
    request = RunRequest(model=model.name, data=layout.data, engine="onnx")
    with pytest.raises(UsageError, match="has changed since") as refused:
        choose_artifact(layout, model, request, parse_engine("onnx"))
    assert refused.value.hint == "admlops export CalibrationStatus --to onnx --weights random:0"
    said: list[str] = []
    found = find_engine(layout, model, replace(request, engine=str(old.file)), say=said.append)
    assert found is not None
    assert any("has changed since the export; admlops verify says" in line for line in said)
    now = keep(layout, make_manifest("bbbb000000000000", weights="random:0", code=found.code))
    keep(layout, make_manifest("cccc000000000000", weights="random:0", code="1" * 64))
    assert choose_artifact(layout, model, request, parse_engine("onnx")) == now, "the newest of this code"


def test_a_named_file_of_other_weights_is_refused(layout: Layout) -> None:
    model = load_model(layout, "CalibrationStatus")
    kept = keep(layout, make_manifest("aaaa000000000000", weights="random:0", config="resnet18"))
    request = RunRequest(model=model.name, data=layout.data, engine=str(kept.file))
    others: tuple[dict[str, Any], ...] = (
        {"weights": "random:3"},
        {"checkpoint": "trained"},
        {"config": "resnet18-half"},
    )
    for named in others:
        with pytest.raises(UsageError, match="was exported of random:0, config resnet18, and not of what --"):
            find_engine(layout, model, replace(request, **named), say=print)
    said: list[str] = []
    found = find_engine(layout, model, replace(request, weights="random:0"), say=said.append)
    assert found is not None
    assert found.manifest == kept.manifest
    assert any("the file's weights are random" in line for line in said)
    (kept.folder / "manifest.json").unlink()
    find_engine(layout, model, replace(request, weights="random:3"), say=said.append)
    assert said[-1].endswith("no manifest says what it was exported of; random:3 is taken at your word")


def test_a_failed_verification_is_no_missing_one(tmp_path: Path) -> None:
    where: dict[str, Any] = {"sha256": "0" * 64, "provider": "CPUExecutionProvider"}
    assert describe_verification(find_verification(tmp_path, **where)) == {"verified": False}
    add_verification(tmp_path, {**where, "passed": False, "failed": "metrics"})
    failed = find_verification(tmp_path, **where)
    assert describe_verification(failed) == {"verified": False, "failed_step": "metrics"}
    add_verification(tmp_path, {**where, "passed": False, "failed": None})
    assert describe_verification(find_verification(tmp_path, **where)) == {"verified": False}, "not judged"
    add_verification(tmp_path, {**where, "passed": True})
    assert describe_verification(find_verification(tmp_path, **where)) == {"verified": True}


def test_a_verification_by_other_code_does_not_count(tmp_path: Path) -> None:
    where: dict[str, Any] = {"sha256": "0" * 64, "provider": "CPUExecutionProvider"}
    add_verification(tmp_path, {**where, "code": "old", "passed": True})
    assert is_verified(tmp_path, **where, code="old")
    assert not is_verified(tmp_path, **where, code="new")


def test_a_configuration_is_named_or_given_as_its_file(layout: Layout, tmp_path: Path) -> None:
    model = load_model(layout, "CalibrationStatus")
    config, other = tmp_path / "own.py", tmp_path / "other.py"
    config.write_text("layers = 18\n")
    other.write_text("layers = 34\n")
    kept = keep(layout, make_manifest("aaaa000000000000", config="own", config_sha256=config_sha256(str(config))))
    for named in ("own", str(config)):
        request = RunRequest(model=model.name, data=layout.data, engine="onnx", config=named)
        assert choose_artifact(layout, model, request, parse_engine("onnx")) == kept
    with pytest.raises(UsageError, match="no single exported network"):
        choose_artifact(layout, model, replace(request, config=str(other)), parse_engine("onnx"))


def test_a_key_depends_on_all_that_decides_a_file_and_not_on_its_order() -> None:
    first = artifact_key({"opset": 17, "model": "A"})
    assert first == artifact_key({"model": "A", "opset": 17}) != artifact_key({"model": "A", "opset": 18})


def test_a_contender_is_a_model_with_an_engine() -> None:
    assert split_contender("MapTR@tensorrt:fp16") == ("MapTR", "tensorrt:fp16")
    assert split_contender("MapTR") == ("MapTR", None)
    with pytest.raises(UsageError, match="names no engine"):
        split_contender("MapTR@")


def test_a_contender_is_a_model_with_weights() -> None:
    assert split_checkpoint("NanoDet:student") == ("NanoDet", "student")
    assert split_checkpoint("NanoDet@/a/file:1.onnx") == ("NanoDet", None)
    for name, says in (("NanoDet:", "names no weights"), ("NanoDet:student@onnx", "has its own weights")):
        with pytest.raises(UsageError, match=says):
            split_checkpoint(name)


def test_removing_is_previewed_and_done(typed: Typed, tmp_path: Path) -> None:
    layout = replace(find_layout(), repository=tmp_path / "repository")
    kept = keep(layout, make_manifest("aaaa000000000000"))
    assert f"would remove {kept.folder}" in typed("exported", "remove", "aaaa", "--dry-run").out
    assert "CalibrationStatus/aaaa000000000000" in typed("exported", "list").out
    assert typed("exported", "remove", "aaaa").out == "removed CalibrationStatus/aaaa000000000000\n"
    assert list_artifacts(layout) == []
    assert not any(folder.name.startswith(".") for folder in (layout.exported / "CalibrationStatus").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("GroundPlane",), "has no network.py"),
        (("MapTRv2",), "the operator bev_pool, which is in no ONNX standard"),
        (("CalibrationStatus", "--opset", "9"), "--opset 9 is not one of 16 to 20"),
        (("CalibrationStatus", "--precision", "int8"), "takes its ranges from samples, and none are named"),
        (("CalibrationStatus", "--to", "caffe"), "networks are exported to onnx"),
        (("CalibrationStatus", "--axis", "batch"), "is not NAME=LENGTH"),
    ],
)
def test_what_cannot_be_exported_is_refused_at_once(typed: Typed, options: tuple[str, ...], words: str) -> None:
    refused = typed("export", *options)
    assert (refused.code, words in refused.err) == (2, True), refused.err


def test_training_and_exporting_are_previewed(typed: Typed, synthetic_root: Path) -> None:
    said = typed("export", "CalibrationStatus", "--weights", "random:0", "--dry-run")
    assert (
        "would export CalibrationStatus: random:0, opset 17, precision auto" in said.out or "not set up" in said.err
    ), said.err
    for options, words in (
        (("--variant", "onnx", "--weights", "random:0"), "has no PyTorch: it runs exported files alone"),
        (("--weights", "random:0", "--option", "nothing=1"), "nothing"),
        (("--checkpoint", "nothing"), "--checkpoint nothing is neither a file nor a name of the catalogue"),
    ):
        refused = typed("export", "CalibrationStatus", *options, "--dry-run")
        assert (refused.code, words in refused.err or "not set up" in refused.err) == (2, True), refused.err
    same = typed(
        "checkpoints", "train", "CalibrationStatus", "--data", synthetic_root, "--split", "mini_val", "--dry-run"
    )
    assert (same.code, "share 2 scenes" in same.err or "not set up" in same.err) == (2, True), same.err
