"""StreamPETR and PETR outside PyTorch: what goes in, which rows are compared, and, with `full`, the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, find_environment, load_module
from tests.models.petr_proof import as_record, make_scenes
from tests.real_frame import make_real_root, sample_token

from admlops.catalog import load_model
from admlops.core.processes import run
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.deployment.matching import Matched, match_runs
from admlops.environments import Environment
from admlops.pipeline.run_engine import site_packages
from admlops.pipeline.run_settings import working_folder
from admlops.worker.network import check_feed

MODELS = ("StreamPETR", "PETR", "PETRv2")
CONFIGS = {
    "StreamPETR": ("r50-704-428q-nui-60e", "(256, 704)"),
    "PETR": ("vovnet-p4-800x320", "(320, 800)"),
    "PETRv2": ("vovnet-p4-800x320", "(320, 800)"),
}
SMALL = "(64, 192)"
"""Height and width of pictures that a CPU gets through in seconds."""
WEIGHTS = "random:0"
TENSOR = 1e-3
CENTRE_M = 0.01
LONG_S = 3000.0


class Tensor:
    """What of PyTorch's tensors a network's feeds ask of a prepared sample."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def __getitem__(self, key: Any) -> Tensor:
        return Tensor(self._array[key])

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> NDArray[Any]:
        return self._array


def small_network(model: str, *layers: Any, head: str | None = None) -> Any:
    """The model's network over a detector that has nothing but sizes."""
    kind = head or f"{model}Head"
    sizes = {"num_query": 3, "num_propagated": 2, "memory_len": 4, "topk_proposals": 2, "embed_dims": 5}
    sizes |= {"cls_out_channels": 2, "code_size": 10}
    steps: list[dict[str, Any]] = [{"type": "ResizeCropFlipRotImage", "data_aug_conf": {"final_dim": (30, 64)}}]
    steps.append({"type": "PadMultiViewImage", "size_divisor": 32})
    detector = SimpleNamespace(
        pts_bbox_head=type(kind, (), sizes)(),
        named_modules=lambda: [(f"layer.{i}", one) for i, one in enumerate(layers)],
    )
    config = SimpleNamespace(data=SimpleNamespace(test=SimpleNamespace(pipeline=steps)))
    adapter = SimpleNamespace(name=model, _model=detector, _config=config)
    return load_module(model, "network").NETWORKS["default"](adapter)


def prepared(pose: NDArray[Any], seconds: float) -> dict[str, Any]:
    """A sample as StreamPETR's adapter prepares it."""
    rig = np.stack([np.diag([50.0 + i, 50.0, 1.0, 1.0]) for i in range(6)]).astype(np.float32)
    return {
        "img": [Tensor(np.zeros((1, 6, 3, 32, 64), np.float32))],
        "lidar2img": [[Tensor(rig)]],
        "intrinsics": [[Tensor(rig)]],
        "timestamp": [[Tensor(np.float64(seconds))]],
        "img_metas": [[{"lidar2global": pose}]],
    }


def pose_at(x: float, y: float, yaw: float) -> NDArray[Any]:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


@pytest.mark.parametrize("origin_m", [0.0, 1000.0, 100_000.0])
def test_streampetrs_motion_is_the_same_wherever_the_map_begins(origin_m: float) -> None:
    network = small_network("StreamPETR")
    network.start_scene()
    network.feeds(prepared(pose_at(origin_m, -origin_m, 0.3), 1_500_000_000.0))
    (feed,) = network.feeds(prepared(pose_at(origin_m + 4.0, 3.0 - origin_m, 0.3), 1_500_000_000.55))
    check_feed({**feed, **network.first_state()}, network.inputs(), what="the input")
    turned = np.linalg.inv(pose_at(0, 0, 0.3))[:2, :2] @ [-4.0, -3.0]
    assert np.allclose(feed["last2now"][0, :2, 3], turned, atol=1e-6)
    assert feed["seconds"][0] == pytest.approx(0.55, abs=1e-6)
    assert feed["prev_exists"][0] == 1


def test_streampetr_begins_a_scene_without_what_was_before() -> None:
    network = small_network("StreamPETR")
    for scene in range(2):
        network.start_scene()
        (feed,) = network.feeds(prepared(pose_at(10.0 * scene, 0, 0), 100.0 * scene))
        assert (feed["prev_exists"][0], feed["seconds"][0]) == (0, 0)
        assert np.array_equal(feed["last2now"][0], np.eye(4))
        assert not any(array.any() for array in network.first_state().values())


def outputs_of(scores: Sequence[float], chosen: Sequence[int]) -> dict[str, NDArray[Any]]:
    """What a network gives of five queries of which two go into the memory, above two rows that were there before."""
    logits = np.full((1, 5, 2), -9.0, np.float32)
    logits[0, :, 0] = scores
    codes = np.arange(50, dtype=np.float32).reshape(1, 5, 10)
    found = {"cls_scores": logits, "bbox_preds": codes}
    rows = [*(codes[0, one] for one in chosen), np.zeros(10, np.float32), np.ones(10, np.float32)]
    memory = np.stack(rows)[None]
    parts = {"embedding": memory[..., :5], "reference_point": memory[..., :3], "velo": memory[..., -2:]}
    parts |= {"timestamp": memory[..., :1], "egopose": np.broadcast_to(memory[..., :1, None], (1, 4, 4, 4)).copy()}
    return found | {f"next_memory_{name}": array for name, array in parts.items()}


@pytest.mark.parametrize(
    ("scores", "theirs", "ours", "equal"),
    [
        ((2.0, 1.0, 0.0, 0.0, 0.0), (0, 1), (1, 0), True),  # another order of the same
        ((2.0, 1.0, 1.0, 0.0, 0.0), (0, 1), (0, 2), True),  # another one of the same score
        ((2.0, 1.0, 1.0, 0.0, 0.0), (0, 1), (2, 0), True),
        ((2.0, 1.0, 0.0, 0.0, 0.0), (0, 1), (0, 2), False),  # a worse one
        ((2.0, 1.0, 0.0, 0.0, 0.0), (0, 1), (1, 2), False),
    ],
)
def test_rows_chosen_by_score_are_compared_query_by_query(
    scores: Sequence[float], theirs: Sequence[int], ours: Sequence[int], equal: bool
) -> None:
    paired = small_network("StreamPETR").pair(outputs_of(scores, ours), outputs_of(scores, theirs))
    assert all(np.array_equal(paired.ours[name], paired.theirs[name]) for name in paired.theirs) == equal


def test_a_query_that_only_a_tie_left_out_is_counted() -> None:
    scores = (2.0, 1.0, 1.0, 0.0, 0.0)
    paired = small_network("StreamPETR").pair(outputs_of(scores, (0, 2)), outputs_of(scores, (0, 1)))
    assert set(paired.unpaired.values()) == {1 / 4}
    assert paired.ours["next_memory_velo"].shape == (1, 3, 2)
    assert "cls_scores" not in paired.unpaired


def test_older_rows_are_compared_as_they_lie() -> None:
    reference = outputs_of((2.0, 1.0, 0.0, 0.0, 0.0), (0, 1))
    other = outputs_of((2.0, 1.0, 0.0, 0.0, 0.0), (0, 1))
    other["next_memory_embedding"][0, 2:] = other["next_memory_embedding"][0, :1:-1]
    paired = small_network("StreamPETR").pair(other, reference)
    assert not np.array_equal(paired.ours["next_memory_embedding"], paired.theirs["next_memory_embedding"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("layer", "operator"),
    [
        ("ModulatedDeformConv2dPack", r"layer\.0 .* needs the operator ModulatedDeformConv2d \(DCNv2\) of mmcv"),
        ("FlashMHA", "flash_attn of flash-attn"),
        ("DeformableFeatureAggregationCuda", "MultiScaleDeformableAttnFunction of mmcv"),
    ],
)
def test_a_layer_that_onnx_lacks_is_refused_by_its_operator(model: str, layer: str, operator: str) -> None:
    with pytest.raises(ValueError, match=operator):
        small_network(model, type(layer, (), {})())


def test_a_head_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="its head is PETRHead_seg, and known are PETRHead, PETRv2Head"):
        small_network("PETR", head="PETRHead_seg")


def small_config(name: str, folder: Path) -> Path:
    """The catalogue's configuration with small pictures, as a file of one's own."""
    key, size = CONFIGS[name]
    model = load_model(LAYOUT, name)
    text = (working_folder(LAYOUT, model) / model.configs[key]).read_text()
    assert size in text
    file = folder / f"{name}.py"
    file.write_text(text.replace(size, SMALL))
    return file


def check_file(environment: Environment, tool: Environment, wanted: dict[str, Any], out: Path) -> dict[str, Any]:
    program = Path(__file__).with_name("detector_checks.py")
    asked = json.dumps({**wanted, "weights": WEIGHTS, "tools": str(site_packages(tool)), "out": str(out)})
    done = run([environment.python, program, asked], variables=environment.variables, timeout_s=LONG_S)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def match(first: Sequence[Any], second: Sequence[Any]) -> Matched:
    """The boxes of two runs over the same samples."""
    runs = [[as_record(str(number), found) for number, found in enumerate(one)] for one in (first, second)]
    (matched,) = match_runs(*runs)
    return matched


@pytest.mark.full
@pytest.mark.timeout(2 * LONG_S)
@pytest.mark.parametrize(
    ("name", "data"), [*((name, "synthetic") for name in CONFIGS), ("StreamPETR", "real"), ("PETR", "real")]
)
def test_the_file_gives_what_pytorch_gives(
    name: str, data: str, admlops: Admlops, onnx_tool: Environment, tmp_path: Path
) -> None:
    """On four frames with carried state, at the map's origin and 1 km from it, on the traced rig and on another."""
    environment = find_environment(name, "modern")
    config = small_config(name, tmp_path)
    if data == "real":
        root = make_real_root(tmp_path / "real")
        build_index(root, "v1.0-mini", say=print)
        tokens = [sample_token()]
    else:
        scenes = make_scenes(tmp_path, scenes=1, samples=4, scale=0.25, camera_sweeps=5 if name == "PETRv2" else 0)
        root, tokens = scenes.root, list(scenes.data.scenes()[0].samples)
    options = ("--to", "onnx", "--weights", WEIGHTS, "--config", config, "--json")
    exported = json.loads(admlops("export", name, *options, timeout_s=LONG_S).stdout)
    assert (exported["opset"], exported["verdicts"]["checker"]) == (17, "passed")
    file = Path(exported["folder"]) / exported["file"]
    wanted = {"model": name, "config": str(config), "file": str(file), "dataroot": str(root), "tokens": tokens}
    found = check_file(environment, onnx_tool, wanted, tmp_path / "found.json")
    assert set(found) == {"0 given", "0 moved", "1000 given", "1000 moved"}
    for case, one in found.items():
        apart = {tensor: told["largest"] for tensor, told in one["tensors"].items()}
        assert all(told["fault"] is None for told in one["tensors"].values())
        matched = match(one["outputs"]["pytorch"], one["outputs"]["file"])
        print(json.dumps({"case": case, "tensors": apart, "matched": matched.to_json()}))
        assert max(apart.values()) <= TENSOR
        assert (matched.unmatched, matched.outputs > 2000) == (0, True)
        assert matched.largest["centre_m"] <= CENTRE_M
    authors = {place: found[f"{place} given"]["outputs"] for place in ("0", "1000")}
    theirs = {place: match(one["authors"], one["file"]) for place, one in authors.items()}
    print(json.dumps({f"authors, {place} m": one.to_json() for place, one in theirs.items()}))
    assert theirs["0"].unmatched == 0
    assert theirs["0"].largest["centre_m"] <= CENTRE_M
    near, far = (found[case]["outputs"]["file"] for case in ("0 given", "1000 given"))
    assert match(near, far).largest["centre_m"] <= 1e-3, "the place on the map changes nothing"


@pytest.mark.full
@pytest.mark.timeout(2 * LONG_S)
@pytest.mark.usefixtures("onnx_tool")
def test_streampetr_is_verified_in_its_exported_form(admlops: Admlops, tmp_path: Path) -> None:
    find_environment("StreamPETR", "modern")
    scenes = make_scenes(tmp_path, scenes=1, samples=4, scale=0.25)
    own = ("--weights", WEIGHTS, "--config", small_config("StreamPETR", tmp_path))
    admlops("export", "StreamPETR", "--to", "onnx", *own, timeout_s=LONG_S)
    options = (*own, "--data", scenes.root, "--device", "cpu")
    verified = admlops("verify", "StreamPETR", "--engine", "onnx", *options, "--bisect", "--json", timeout_s=LONG_S)
    found = json.loads(verified.stdout)
    assert [step["verdict"] for step in found["steps"]] == ["passed", "passed", "passed", "not judged"]
    assert "random weights" in found["steps"][3]["reason"]
    assert (found["passed"], found["bisect"]["module"]) == (True, None)
    assert "PyTorch runs the exported form: the memory stays in the frame of the last sample" in verified.stderr
