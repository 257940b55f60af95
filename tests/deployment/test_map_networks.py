"""MapTR, VAD, BEVFormer and TopoMLP outside PyTorch: what goes in, what is refused, and, with `full`, the files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.deployment.test_detector_networks import LONG_S, TENSOR, WEIGHTS, Tensor, check_file
from tests.models.both_ways import LAYOUT, find_environment, load_module
from tests.models.petr_proof import as_record, make_scenes
from tests.real_frame import make_real_root, sample_token

from admlops.catalog import load_model
from admlops.core.processes import run
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.deployment.matching import match_runs
from admlops.environments import Environment
from admlops.pipeline.export import ExportRequest, for_cameras
from admlops.pipeline.run_engine import site_packages
from admlops.pipeline.run_request import RunRequest
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
from admlops.worker.engine import require_shapes
from admlops.worker.mmlab.traced.attention import require_kinds
from admlops.worker.mmlab.traced.ego_motion import EgoMotion
from admlops.worker.mmlab.traced.pictures import example_rig, picture_axes, scaled_size
from admlops.worker.network import NetworkError, check_feed
from admlops.worker.runtimes.base import Session
from admlops.worker.samples.openlane import OpenLane, list_versions

POINT_M = 0.01
SCALE = 0.25
"""Of the synthetic pictures, whose full size is 1600x900."""
BEV = (("bev_h_ = 200", "bev_h_ = 40"), ("bev_w_ = 100", "bev_w_ = 20"))
CASES: Mapping[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "kernel": ("MapTR", "tiny-24e", BEV),
    "deformable": ("MapTR", "tiny-bevformer-24e", BEV),
    "temporal": ("MapTR", "tiny-t4-24e", (*BEV, ("video_test_mode=False", "video_test_mode=True"))),
    "driving": ("VAD", "tiny", (("bev_h_ = 100", "bev_h_ = 40"), ("bev_w_ = 100", "bev_w_ = 20"))),
    "objects": ("BEVFormer", "tiny-24e", (("bev_h_ = 50", "bev_h_ = 20"), ("bev_w_ = 50", "bev_w_ = 20"))),
    "lanes": ("TopoMLP", "setA-r50", (("img_scale=(1024, 775)", "img_scale=(256, 194)"),)),
}
"""A model's configuration, and what of its text is made smaller, for CPUs."""


def pipeline(*steps: Mapping[str, Any]) -> Any:
    config = [{"type": "MultiScaleFlipAug3D", "transforms": list(steps)}]
    return SimpleNamespace(data=SimpleNamespace(test=SimpleNamespace(pipeline=config, type="OpenLaneV2SubsetADataset")))


NUSCENES = pipeline(
    {"type": "RandomScaleImageMultiViewImage", "scales": [0.5]}, {"type": "PadMultiViewImage", "size_divisor": 32}
)


def head_of(*, temporal: bool) -> Any:
    """MapTR's network over a model that has nothing but sizes."""
    transformer = SimpleNamespace(
        num_cams=6, use_shift=True, use_can_bus=True, rotate_prev_bev=False, rotate_center=[1, 1]
    )
    head = SimpleNamespace(
        bev_h=4, bev_w=2, real_h=60.0, real_w=30.0, embed_dims=8, num_vec=3, num_pts_per_vec=5, cls_out_channels=2
    )
    head.transformer = transformer
    model = SimpleNamespace(pts_bbox_head=head, video_test_mode=temporal, named_modules=list)
    adapter = SimpleNamespace(name="MapTR", _model=model, _config=NUSCENES)
    return load_module("MapTR", "network").NETWORKS["default"](adapter)


def prepared(x: float, y: float, heading_deg: float) -> dict[str, Any]:
    """A sample as MapTR's adapter prepares it."""
    can_bus = np.zeros(18)
    can_bus[:2], can_bus[-2], can_bus[-1] = (x, y), np.deg2rad(heading_deg), heading_deg
    meta = {"can_bus": can_bus, "lidar2img": [np.eye(4)] * 6}
    return {"img": [Tensor(np.zeros((1, 6, 3, 480, 800), np.float32))], "img_metas": [[meta]]}


@pytest.mark.parametrize("origin_m", [0.0, 1000.0, 100_000.0])
def test_the_motion_is_the_same_wherever_the_map_begins(origin_m: float) -> None:
    network = head_of(temporal=True)
    network.start_scene()
    (first,) = network.feeds(prepared(origin_m, -origin_m, 30.0))
    (second,) = network.feeds(prepared(origin_m + 3.0, 4.0 - origin_m, 33.0))
    for feed in (first, second):
        check_feed({**feed, **network.first_state()}, network.inputs(), what="the input")
    assert (first["has_previous"][0], second["has_previous"][0]) == (0, 1)
    assert not first["shift"].any()
    assert np.allclose(second["can_bus"][0, [0, 1, -1]], [3.0, 4.0, 3.0], atol=1e-6)
    turn = np.deg2rad(33.0) - np.arctan2(4.0, 3.0)
    assert np.allclose(second["shift"][0], [5 * np.sin(turn) / 30, 5 * np.cos(turn) / 60], atol=1e-7)


def test_a_network_that_looks_at_one_sample_takes_each_for_a_first_one() -> None:
    network = head_of(temporal=False)
    network.start_scene()
    network.feeds(prepared(0.0, 0.0, 0.0))
    (feed,) = network.feeds(prepared(3.0, 4.0, 5.0))
    check_feed(feed, network.inputs(), what="the input")
    assert not feed["can_bus"][0, [0, 1, -1]].any()
    assert network.carried == {}


def test_a_bev_that_is_not_turned_stays_where_it_is() -> None:
    transformer = SimpleNamespace(use_shift=False, rotate_prev_bev=False)
    motion = EgoMotion(transformer, (3, 2), (60.0, 30.0))
    motion.step(np.zeros(18))
    found = motion.step(np.array([5.0, *[0.0] * 16, 40.0]))
    assert found["previous_pixels"].tolist() == [1, 2, 3, 4, 5, 6]
    assert not found["shift"].any()


def test_pictures_of_another_size_than_the_files_are_refused_with_the_export_that_they_need() -> None:
    network = head_of(temporal=False)
    network.start_scene()
    (feed,) = network.feeds(prepared(0.0, 0.0, 0.0))
    session = Session()
    session.shapes = {"pictures": (6, 3, 480, 800)}
    require_shapes(network, session, feed)
    session.shapes = {"pictures": (6, 3, 192, 800)}
    with pytest.raises(NetworkError, match=r"pictures has shape .*: admlops export MapTR --axis height=480"):
        require_shapes(network, session, feed)
    with pytest.raises(NetworkError, match=r": admlops export MapTR --weights random:0 --axis height=480 --axis width"):
        require_shapes(network, session, feed, export="admlops export MapTR --weights random:0")


@pytest.mark.parametrize(("factor", "size"), [(0.5, (480, 800)), (0.4, (384, 640)), (0.2, (192, 320))])
def test_pictures_have_the_size_that_the_pipeline_makes_of_nuscenes_own(factor: float, size: tuple[int, int]) -> None:
    steps = {"type": "RandomScaleImageMultiViewImage", "scales": [factor]}, {"type": "PadMultiViewImage"}
    assert scaled_size(pipeline(steps[0], {**steps[1], "size_divisor": 32}), name="MapTR") == size


def test_pictures_of_other_cameras_have_another_size() -> None:
    assert picture_axes(NUSCENES, {}, name="MapTR") == {"height": 480, "width": 800}
    small = {"camera_height": 450, "camera_width": 800}
    assert picture_axes(NUSCENES, small, name="MapTR") == {"height": 256, "width": 416, **small}
    assert picture_axes(NUSCENES, {**small, "height": 320}, name="MapTR")["height"] == 320
    with pytest.raises(ValueError, match="MapTR has no axis called nope; it has height, width"):
        head_of(temporal=False).require_axes({"height": 3, "nope": 3})
    axes = head_of(temporal=False).fix_axes(small)
    assert (axes["height"], axes["width"]) == (256, 416)


def test_an_export_is_for_the_pictures_of_the_data_that_it_is_given(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    synthesize(root, SynthesisOptions(scenes=1, samples=1, scale=SCALE, lidar_sweeps=0, camera_sweeps=0))
    small = {"camera_height": 225, "camera_width": 400}
    asked = {
        name: ExportRequest(run=RunRequest(model=name, data=root)) for name in ("MapTR", "VAD", "BEVFormer", "PETR")
    }
    found = {name: dict(for_cameras(load_model(LAYOUT, name), one).axes) for name, one in asked.items()}
    assert found == {"MapTR": small, "VAD": small, "BEVFormer": small, "PETR": {}}
    nowhere = ExportRequest(run=RunRequest(model="MapTR", data=Path()))
    assert for_cameras(load_model(LAYOUT, "MapTR"), nowhere) is nowhere


def test_pictures_that_are_scaled_by_chance_are_refused() -> None:
    with pytest.raises(NetworkError, match="the test pipeline scales pictures by more than one factor"):
        scaled_size(pipeline({"type": "RandomScaleImageMultiViewImage", "scales": [0.5, 0.6]}), name="MapTR")


def test_the_rig_to_trace_with_sees_what_is_around() -> None:
    rig = example_rig(6, (480, 800)).astype(np.float64)
    ahead = rig[0] @ [0.0, 10.0, 0.0, 1.0]
    assert (ahead[:2] / ahead[2])[0] == pytest.approx(400)
    assert ahead[2] == pytest.approx(9.5)
    assert (rig[3] @ [0.0, 10.0, 0.0, 1.0])[2] < 0


def layer(kind: str, home: str) -> Any:
    return type(kind, (), {"__module__": home})()


def model_with(place: str, kind: str, home: str = "projects.mmdet3d_plugin.layers") -> Any:
    return SimpleNamespace(named_modules=lambda: [("", None), (place, layer(kind, home))])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("LSSTransform", "head.encoder is LSSTransform, whose operator bev_pool is in no ONNX standard"),
        ("SparseEncoder", "head.encoder is SparseEncoder, whose sparse convolutions are in no ONNX standard"),
        ("NewAttention", "head.encoder is NewAttention, which no traced form is written for"),
    ],
)
def test_what_has_no_traced_form_is_refused_by_its_place_and_class(kind: str, text: str) -> None:
    with pytest.raises(NetworkError, match=f"MapTR cannot be exported: {text}"):
        require_kinds(model_with("head.encoder", kind), ["Known"], name="MapTR")


@pytest.mark.parametrize(
    ("place", "kind", "home"),
    [
        ("head.encoder", "Known", "projects.mmdet3d_plugin.layers"),
        ("head.loss_pts", "PtsL1Loss", "projects.mmdet3d_plugin.losses"),
        ("backbone", "ResNet", "mmdet.models.backbones.resnet"),
        ("neck", "Conv2d", "torch.nn.modules.conv"),
    ],
)
def test_layers_of_libraries_and_losses_are_left_to_pytorchs_exporter(place: str, kind: str, home: str) -> None:
    require_kinds(model_with(place, kind, home), ["Known"], name="MapTR")


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((), "its pipeline does not give all pictures one size"),
        (
            (
                {"type": "ResizeMultiview3D", "img_scale": (64, 40)},
                {"type": "CustomPadMultiViewImage", "size_divisor": 8},
            ),
            "its pipeline does not give all pictures one size",
        ),
    ],
)
def test_topomlps_pipeline_must_give_one_size(network: ModuleType, steps: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        network.picture_sizes(pipeline(*steps))


def test_topomlps_pictures_are_padded_below(network: ModuleType) -> None:
    scaled = {"type": "ResizeMultiview3D", "img_scale": (1024, 775), "keep_ratio": False}
    padded = {"type": "CustomPadMultiViewImage", "size_divisor": 32}
    assert network.picture_sizes(pipeline(scaled, padded)) == ((775, 1024), (800, 1024))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "frames", load_module("TopoMLP", "frames"))
    return load_module("TopoMLP", "network")


@pytest.mark.full
def test_an_operator_that_onnx_lacks_is_named_with_its_module(onnx_tool: Environment, tmp_path: Path) -> None:
    environment = find_environment("MapTR", "modern")
    file = tmp_path / "network.onnx"
    program = Path(__file__).with_name("foreign_operator.py")
    done = run(
        [environment.python, program, site_packages(onnx_tool), file], variables=environment.variables, timeout_s=LONG_S
    )
    assert (
        done.stdout.splitlines()[-1]
        == "Inverting cannot be exported: ONNX of opset 17 has no aten::linalg_inv, which head.1 (Inverse) calls"
    )
    assert not file.exists()


def small_config(case: str, folder: Path) -> Path:
    """The catalogue's configuration, smaller, as a file of one's own."""
    model, key, changes = CASES[case]
    text = (LAYOUT.submodules / model / load_model(LAYOUT, model).configs[key]).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / f"{case}.py"
    file.write_text(text)
    return file


def make_samples(model: str, folder: Path) -> dict[str, Any]:
    """Four samples of a scene, as `detector_checks.py` wants them."""
    if model == "TopoMLP":
        root = folder / "openlane"
        synthesize_openlane(root, OpenLaneOptions(scenes=1, samples=4, seed=1, scale=SCALE))
        (subset, *_) = list_versions(str(root))
        lanes = OpenLane(str(root), subset)
        return {
            "dataroot": str(root),
            "subset": subset,
            "tokens": list(lanes.samples_of_scene(lanes.scene_names()[0])),
        }
    scenes = make_scenes(folder, scenes=1, samples=4, scale=SCALE)
    return {"dataroot": str(scenes.root), "tokens": list(scenes.data.scenes()[0].samples)}


@pytest.mark.full
@pytest.mark.timeout(2 * LONG_S)
@pytest.mark.parametrize("form", ["default", "gathers"])
@pytest.mark.parametrize("case", CASES)
def test_the_file_gives_what_pytorch_gives(
    case: str, form: str, admlops: Admlops, onnx_tool: Environment, tmp_path: Path
) -> None:
    """On four samples with carried state, at the map's origin and 1 km from it, on the traced rig and on another."""
    model = CASES[case][0]
    samples = make_samples(model, tmp_path)
    options = ["--config", str(small_config(case, tmp_path)), "--form", form, "--data", samples["dataroot"]]
    check(model, form, options, samples, admlops, onnx_tool, tmp_path)


@pytest.mark.full
@pytest.mark.timeout(2 * LONG_S)
def test_the_file_gives_what_pytorch_gives_of_a_real_frame(
    admlops: Admlops, onnx_tool: Environment, tmp_path: Path
) -> None:
    root = make_real_root(tmp_path / "real")
    build_index(root, "v1.0-mini", say=print)
    samples = {"dataroot": str(root), "tokens": [sample_token()]}
    config = LAYOUT.submodules / "MapTR" / load_model(LAYOUT, "MapTR").configs["nano-110e"]
    check("MapTR", "default", ["--config", str(config)], samples, admlops, onnx_tool, tmp_path)


def check(
    model: str,
    form: str,
    options: list[str],
    samples: Mapping[str, Any],
    admlops: Admlops,
    tool: Environment,
    folder: Path,
) -> None:
    """Export, and hold the file against PyTorch: the exported form by tensors, the authors' by what is decoded."""
    environment = find_environment(model, "modern")
    told = admlops("export", model, "--to", "onnx", "--weights", WEIGHTS, *options, "--json", timeout_s=LONG_S)
    exported = json.loads(told.stdout)
    assert (exported["opset"], exported["verdicts"]["checker"]) == (17, "passed")
    assert ("GridSample" in exported["verdicts"]["operators"]) == (form == "default")
    wanted = {
        "model": model,
        "config": options[1],
        "form": form,
        "file": str(Path(exported["folder"]) / exported["file"]),
        **samples,
    }
    found = check_file(environment, tool, wanted, folder / "found.json")
    assert set(found) == {"0 given", "0 moved", "1000 given", "1000 moved"}
    for case, one in found.items():
        apart = {tensor: told["largest"] for tensor, told in one["tensors"].items()}
        assert all(told["fault"] is None for told in one["tensors"].values())
        print(json.dumps({"case": case, "tensors": apart}))
        assert max(apart.values()) <= TENSOR
        require_alike(one["outputs"]["pytorch"], one["outputs"]["file"])
    require_alike(found["0 given"]["outputs"]["authors"], found["0 given"]["outputs"]["file"])
    require_alike(found["0 given"]["outputs"]["file"], found["1000 given"]["outputs"]["file"])


def require_alike(first: list[Any], second: list[Any]) -> None:
    """Every output has its counterpart, ties left out, within a centimetre."""
    runs = [[as_record(str(number), found) for number, found in enumerate(one)] for one in (first, second)]
    matched = match_runs(*runs)
    assert matched
    for one in matched:
        print(json.dumps(one.to_json()))
        assert (one.unmatched, one.outputs > 0) == (0, True)
        for name in ("points_m", "centre_m", "size_m"):
            assert one.largest.get(name, 0.0) <= POINT_M
