"""Results in pickles: what is read of them, what is refused, and the numbers of VAD's and UniAD's."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation import tensor_files
from tests.evaluation.generated_boxes import VERSION, tokens_of, write_tables
from tests.evaluation.taken_files import measure, silent, take, values_of
from tests.evaluation.tensor_files import LiDARInstance3DBoxes, Tensor

from admlops.core.errors import EnvError, UsageError
from admlops.core.nuscenes_classes import MMDET3D_CLASSES
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import ensure_official
from admlops.evaluation.motion.protocols import VAD_MOTION
from admlops.evaluation.planning.protocols import STP3, UNIAD
from admlops.evaluation.planning.scores import evaluate_planning, published_names
from admlops.evaluation.submissions.pickled import read_pickle
from admlops.evaluation.trajectories.arrays import MotionPrediction
from admlops.evaluation.trajectories.ground_truth import MotionGroundTruth
from admlops.evaluation.trajectories.vad_files import official_vad
from worker.mmlab.common.boxes import MMDET3D_017, standard_boxes

SCENES, SAMPLES = 3, 8
COMMAND = 2
Array = NDArray[Any]


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[NuScenes, MotionGroundTruth, list[str]]:
    root = write_tables(tmp_path_factory.mktemp("driven") / "nuscenes", scenes=SCENES, samples=SAMPLES, objects=60)
    tokens = tokens_of(SCENES, SAMPLES)
    return NuScenes(root, VERSION), MotionGroundTruth(read_annotations(root, VERSION, tokens, following=6)), tokens


def decoded(truth: MotionGroundTruth, index: int) -> dict[str, Array]:
    """What a network says of a sample, in single precision: boxes near the annotated ones, futures, maps, a plan."""
    rng = np.random.default_rng(index)
    motion, count = truth.motion(index), len(truth.motion(index).labels)
    boxes = np.zeros((count, 9))
    boxes[:, :2] = motion.centers + rng.normal(0, 0.4, (count, 2))
    boxes[:, 2:] = rng.normal([-1.5, 1.9, 4.6, 1.7, 0.3, 0.2, 0.1], 0.1, (count, 7))
    steps = np.repeat(motion.steps[:, np.newaxis], 6, axis=1) + rng.normal(0, 0.3, (count, 6, 6, 2))
    path = truth.vad_plan(index).path
    return {
        "boxes": boxes.astype(np.float32),
        "scores_3d": rng.uniform(0.3, 1.0, count).astype(np.float32),
        "labels_3d": motion.labels.astype(np.int64),
        "trajs_3d": np.concatenate([steps.reshape(count, 6, 12), rng.normal(0, 1, (count, 6, 1))], 2).astype(
            np.float32
        ),
        "map_pts_3d": rng.uniform(-15, 15, (5, 20, 2)).astype(np.float32),
        "map_scores_3d": rng.uniform(0, 1, 5).astype(np.float32),
        "map_labels_3d": rng.integers(0, 3, 5),
        "ego_fut_preds": (np.diff(path, axis=0, prepend=np.zeros((1, 2))) + rng.normal(0, 0.2, (3, 6, 2))).astype(
            np.float32
        ),
        "ego_fut_cmd": np.eye(3, dtype=np.float32)[COMMAND].reshape(1, 1, 1, 3),
    }


def vad_entry(values: dict[str, Array]) -> dict[str, Any]:
    tensors = {key: Tensor(array, transposed=key == "map_scores_3d") for key, array in values.items() if key != "boxes"}
    return {"pts_bbox": {"boxes_3d": LiDARInstance3DBoxes(values["boxes"]), **tensors}, "metric_results": {"gt_num": 3}}


def write_vad(path: Path, data: NuScenes, truth: MotionGroundTruth, tokens: list[str]) -> Path:
    """The raw list, in the order of time."""
    order = sorted(range(len(tokens)), key=lambda index: int(data.sample(tokens[index])["timestamp_us"]))
    path.write_bytes(tensor_files.dumps({"bbox_results": [vad_entry(decoded(truth, index)) for index in order]}))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_tensors_and_plain_data_are_read(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Array] = [
        rng.normal(size=(3, 4)),
        rng.normal(size=5).astype(np.float16),
        np.arange(6).reshape(2, 3),
        np.array(["a"]),
    ]
    weights = arrays[0].astype(np.float32)
    content: dict[str, Any] = {
        "arrays": [*arrays, np.asfortranarray(arrays[0])],
        "numbers": (np.float32(0.5), np.int64(3), np.bool_(True), 1, None, "ä", b"\x00\xff"),
        "tensor": Tensor(weights, transposed=True),
        "long": Tensor(np.arange(3)),
        "boxes": LiDARInstance3DBoxes(np.ones((2, 9), np.float32)),
    }
    path = tmp_path / "content.pkl"
    path.write_bytes(tensor_files.dumps(content, protocol))
    with path.open("rb") as file:
        read = read_pickle(file, path)
    for ours, theirs in zip(read["arrays"], [*arrays, arrays[0]], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert read["numbers"] == content["numbers"]
    np.testing.assert_array_equal(read["tensor"], weights)
    np.testing.assert_array_equal(read["long"], np.arange(3))
    np.testing.assert_array_equal(read["boxes"].tensor, np.ones((2, 9)))


def _deeply(levels: int) -> bytes:
    return b"\x80\x04" + b"](" * levels + b"e" * levels + b"."


EVIL: dict[str, bytes] = {
    "os.system": pickle.dumps(Runs(os.system, "touch ran")),
    "within": pickle.dumps({"results": [Runs(os.system, "touch ran")]}),
    "getattr": pickle.dumps(Runs(getattr, "", "__class__")),
    "eval": pickle.dumps(Runs(eval, "1")),
    "Popen": pickle.dumps(Runs(subprocess.Popen, ["touch", "ran"])),
    "protocol 0": b"cos\nsystem\n(S'touch ran'\ntR.",
    "storage with code": tensor_files.dumps(
        {"a": Runs(tensor_files._load_from_bytes, pickle.dumps(Runs(os.system, "touch ran")))}
    ),
    "numpy.load": b"\x80\x04cnumpy\nload\n(X\x01\x00\x00\x00atR.",
    "object of a class": b"\x80\x04cadmlops.core.paths\nLayout\n)\x81.",
    "a changed function": b"\x80\x04c_codecs\nencode\nN}X\x05\x00\x00\x00_calls\x86b.",
    "a mark alone": b"\x80\x04(.",
    "half": tensor_files.dumps({"a": Tensor(np.ones((4, 4), np.float32))})[:-40],
    "a larger tensor": tensor_files.dumps(Tensor(np.ones(4, np.float32))).replace(b"K\x04\x85", b"K\x40\x85"),
    "a reference": b"\x80\x04X\x01\x00\x00\x00aQ.",
}


@pytest.mark.parametrize("name", EVIL)
def test_no_pickle_is_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(EVIL[name])
    with path.open("rb") as file, pytest.raises(UsageError, match=r"evil.pkl is (refused|no whole pickle)"):
        read_pickle(file, path)
    assert list(tmp_path.iterdir()) == [path]


def test_vads_raw_boxes_are_those_of_the_adapter(
    driven: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    data, truth, tokens = driven
    run = take(layout, write_vad(tmp_path / "results.pkl", data, truth, tokens), data, split="all")
    records = {record.metadata.sample_token: record for record in run.records()}
    for index, token in enumerate(tokens):
        rows = decoded(truth, index)["boxes"]
        theirs = standard_boxes(rows, data.sample(token), MMDET3D_017)
        ours = [one.bbox_3d for one in records[token].detections_3d]  # type: ignore[union-attr]
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(own.center, other["center"], atol=1e-5)
            np.testing.assert_allclose(own.size_wlh, other["size_wlh"], atol=1e-6)
            np.testing.assert_allclose(own.velocity or (), other["velocity"], atol=1e-5)
            assert abs(np.dot(own.rotation_wxyz, other["rotation_wxyz"])) == pytest.approx(1.0)
    assert [one.class_name for one in records[tokens[0]].detections_3d] == [  # type: ignore[union-attr]
        MMDET3D_CLASSES[label] for label in decoded(truth, 0)["labels_3d"]
    ]


def test_what_vad_formats_says_the_same(
    driven: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    """The raw list, and VAD's own JSON of it, written by us: boxes, futures' plans and maps have the same numbers."""
    from admlops.pipeline.export_submission import export_submission

    data, truth, tokens = driven
    raw = take(layout, write_vad(tmp_path / "results.pkl", data, truth, tokens), data, split="all")
    out = tmp_path / "results_nusc.json"
    assert export_submission(raw, "vad", out) == len(tokens)
    formatted = take(layout, out, data, split="all")
    first, second = (measure(layout, run, data) for run in (raw, formatted))
    for protocol in ("nuscenes.detection", STP3, UNIAD):
        values = values_of(first, protocol)
        assert values
        assert values_of(second, protocol) == pytest.approx(values, abs=1e-9)
    elements = [[record.map_elements for record in run.records()] for run in (raw, formatted)]
    for own, other in zip(*elements, strict=True):
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a.points, b.points, atol=1e-9)


def test_uniads_plans_and_boxes(
    driven: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    data, truth, tokens = driven
    entries = []
    for index, token in enumerate(tokens):
        values = decoded(truth, index)
        entries.append(
            {
                "token": token,
                "boxes_3d_det": LiDARInstance3DBoxes(values["boxes"]),
                "scores_3d_det": Tensor(values["scores_3d"]),
                "labels_3d_det": Tensor(values["labels_3d"]),
                "planning_traj": Tensor(truth.uniad_plan(index).path[np.newaxis].astype(np.float32)),
                "command": [Tensor(np.array([1]))],
            }
        )
    path = tmp_path / "uniad.pkl"
    path.write_bytes(tensor_files.dumps({"bbox_results": entries, "planning_results_computed": None}))
    run = take(layout, path, data, split="all")
    assert run.header.submission.format == "uniad"  # type: ignore[union-attr]
    assert values_of(measure(layout, run, data), UNIAD)["L2_3s"] == pytest.approx(0.0, abs=1e-9)
    plans = [record.plan for record in run.records()]
    assert {plan.command for plan in plans} == {"left"}  # type: ignore[union-attr]


@pytest.mark.full
def test_vads_own_code_says_the_same_of_the_raw_file(
    driven: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    """Plans and futures: the numbers of the file itself, handed to VAD's metrics without a record between."""
    from tests.evaluation.upstream import checkout_or_skip

    checkout = checkout_or_skip("VAD")
    try:
        environment = ensure_official(layout, "vad", say=silent)
    except EnvError as error:
        pytest.skip(f"VAD's metrics cannot be installed: {error}")
    data, truth, tokens = driven
    samples = []
    for index in range(len(tokens)):
        values = decoded(truth, index)
        steps = values["trajs_3d"][..., :12].reshape(-1, 6, 6, 2)
        found = MotionPrediction(
            centers=values["boxes"][:, :2], labels=values["labels_3d"], scores=values["scores_3d"], steps=steps
        )
        sample = truth.vad_sample(index, np.zeros((6, 2)), found)
        samples.append(type(sample)(**{**vars(sample), "plan": values["ego_fut_preds"][COMMAND]}))
    theirs = official_vad(samples, environment=environment, checkout=checkout, layout=layout, folder=tmp_path)
    run = take(layout, write_vad(tmp_path / "results.pkl", data, truth, tokens), data, split="all")
    ours = measure(layout, run, data)
    direct = evaluate_planning(
        (np.cumsum(decoded(truth, index)["ego_fut_preds"][COMMAND], axis=0, dtype=np.float64), truth.vad_plan(index))
        for index in range(len(tokens))
    )
    assert values_of(ours, STP3) == pytest.approx(published_names(direct.values), abs=1e-12)
    # On AVX-512 torch's square roots are a digit of single precision too low in one of two hundred: docs/metrics.md.
    assert values_of(ours, STP3) == pytest.approx(published_names(theirs["stp3"]), abs=6e-8)
    assert values_of(ours, VAD_MOTION) == pytest.approx(theirs["motion"], abs=1e-9)
