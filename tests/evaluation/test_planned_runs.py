"""Plans and predicted futures of whole runs, against what their data set says comes next."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.generated_boxes import VERSION, tokens_of, write_tables
from tests.evaluation.planned_runs import write_planned_run

from admlops.core.errors import ComparabilityError, EnvError, RecordError
from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.environments import ensure_official
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import metrics_of
from admlops.evaluation.motion.protocols import VAD_MOTION
from admlops.evaluation.planning.protocols import STP3, UNIAD
from admlops.evaluation.statistics.paired_bootstrap import compare_evaluated, read_evaluated
from admlops.evaluation.trajectories.arrays import LABELS
from admlops.evaluation.trajectories.ground_truth import VEHICLES, MotionGroundTruth
from admlops.results.record import Outputs, Plan
from admlops.results.run_folder import RunFolder

SCENES, SAMPLES = 10, 9
WHOLE = SCENES * (SAMPLES - 6)
"""Samples with six more behind them in their scene."""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[NuScenes, MotionGroundTruth, list[str]]:
    root = write_tables(tmp_path_factory.mktemp("planned") / "nuscenes", scenes=SCENES, samples=SAMPLES, objects=90)
    tokens = tokens_of(SCENES, SAMPLES)
    return NuScenes(root, VERSION), MotionGroundTruth(read_annotations(root, VERSION, tokens, following=6)), tokens


def values_of(summary: dict[str, Any], protocol: str) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in metrics_of(summary) if metric.protocol == protocol}


def test_the_truth_itself_is_perfect(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    data, futures, tokens = planned
    run = write_planned_run(tmp_path / "perfect", data, futures, tokens)
    summary = evaluate_run(run, data, layout=layout, say=print)
    for protocol, samples in ((STP3, WHOLE), (UNIAD, len(tokens))):
        values = values_of(summary, protocol)
        assert values["L2_3s"] == pytest.approx(0.0, abs=1e-5)
        assert values["collision_3s"] == values["collision_avg"] == 0.0
        assert {m.n for m in metrics_of(summary) if m.protocol == protocol} == {samples}
    motion = values_of(summary, VAD_MOTION)
    assert motion["minADE_car"] == pytest.approx(0.0, abs=1e-5)
    assert motion["EPA_pedestrian"] == 1.0
    assert summary["details"]["motion"]["objects"]["minFDE_car"] > 50
    assert set(summary["details"]) == {"detection", "motion", "plan", "plan_uniad"}


def test_a_metre_beside_costs_a_metre(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], tmp_path: Path, admlops: Admlops
) -> None:
    """Two runs of different merit, compared with intervals and p-values."""
    data, futures, tokens = planned
    runs = tmp_path / "repository" / "runs"
    for name, aside_m in (("straight", 0.0), ("aside", 1.0)):
        run = write_planned_run(runs / name, data, futures, tokens, aside_m=aside_m)
        evaluate_run(run, data, layout=find_layout(), say=print)
    a, b = (read_evaluated(RunFolder.open(runs / name)) for name in ("straight", "aside"))
    differences = {(one.protocol, one.metric): one for one in compare_evaluated(a, b)}
    known = (SAMPLES - 2) / SAMPLES  # UniAD counts the others as 0
    for protocol, expected in ((STP3, 1.0), (UNIAD, known)):
        one = differences[protocol, "L2_1s"]
        assert one.difference == pytest.approx(expected, abs=1e-5)
        assert one.p_value is not None
        assert one.p_value < 0.01
    motion = differences[VAD_MOTION, "minFDE_car"]
    assert motion.difference is not None
    assert 0.2 < motion.difference < 1.0  # not the whole metre: where things stand, so does one of the modes
    assert motion.interval is not None
    assert motion.interval[0] > 0
    shown = admlops("results", "compare", "straight", "aside", "--json")
    assert {(one["protocol"], one["metric"]) for one in json.loads(shown.stdout)["metrics"]} == set(differences)


def test_a_failed_sample_counts_as_a_vehicle_that_stays(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    data, futures, tokens = planned
    failed = tokens[0]
    run = write_planned_run(tmp_path / "failing", data, futures, tokens, failed=frozenset([failed]))
    summary = evaluate_run(run, data, layout=layout, say=print)
    away = np.linalg.norm(futures.vad_plan(0).path[-1])
    assert values_of(summary, UNIAD)["L2_3s"] == pytest.approx(away / len(tokens), abs=1e-5)
    assert "1 failed samples count as plans to stay" in summary["notes"][0]
    perfect = write_planned_run(tmp_path / "perfect", data, futures, tokens)
    perfect_epa = values_of(evaluate_run(perfect, data, layout=layout, say=print), VAD_MOTION)["EPA_car"]
    assert perfect_epa == 1.0
    epa = values_of(summary, VAD_MOTION)["EPA_car"]
    assert epa is not None
    assert epa < 1.0


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(command="straight", interval_s=0.5, waypoints=[(1.0, 0.0)] * 5), "a plan of 5 steps of 0.5 s"),
        (Plan(command="straight", interval_s=1.0, waypoints=[(1.0, 0.0)] * 6), "a plan of 6 steps of 1.0 s"),
        (
            Plan(command="straight", interval_s=0.5, waypoints=[(1e200, 0.0)] * 6),
            "a plan with a coordinate larger than",
        ),
    ],
)
def test_a_plan_that_cannot_be_measured_is_named(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path, plan: Plan, said: str
) -> None:
    data, futures, tokens = planned
    seen: list[Outputs] = []

    def spoil(outputs: Outputs) -> Outputs:
        seen.append(outputs)
        return msgspec.structs.replace(outputs, plan=plan) if len(seen) == 3 else outputs

    run = write_planned_run(tmp_path / "run", data, futures, tokens[:SAMPLES], change=spoil)
    with pytest.raises(RecordError, match=f"{tokens[2]} .*has {said}.*; the metrics need 6 steps of 0.5 s"):
        evaluate_run(run, data, layout=layout, say=print)
    assert not run.metrics_path.exists()


def test_random_weights_compare_with_nothing(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    data, futures, tokens = planned
    own = tokens[:SAMPLES]
    trained = write_planned_run(tmp_path / "trained", data, futures, own)
    drawn = write_planned_run(tmp_path / "drawn", data, futures, own, weights="random:0")
    for run in (trained, drawn):
        evaluate_run(run, data, layout=layout, say=print)
    assert json.loads(drawn.metrics_path.read_text())["random_weights"] == "random:0"
    a, b = read_evaluated(trained), read_evaluated(drawn)
    for pair in ((a, b), (b, a), (b, b)):
        with pytest.raises(ComparabilityError, match=r"measured with random weights \(random:0\)"):
            compare_evaluated(*pair)


def test_the_last_samples_of_a_scene_have_no_whole_future(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]],
) -> None:
    _, futures, _ = planned
    last = SAMPLES - 1
    for plan in (futures.vad_plan(last), futures.uniad_plan(last)):
        assert not plan.known.any()
        assert not plan.traffic.present.any()
        np.testing.assert_array_equal(plan.path, np.zeros((6, 2)))
    third = futures.vad_plan(SAMPLES - 4)
    assert third.known.tolist() == [True] * 3 + [False] * 3
    np.testing.assert_allclose(third.path[3:], np.tile(third.path[2], (3, 1)), atol=1e-6)
    assert futures.vad_plan(0).is_whole


def test_chosen_samples_see_the_same_future_as_whole_scenes(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]],
) -> None:
    """The future of a sample does not depend on which others are evaluated."""
    data, whole, tokens = planned
    chosen = [tokens[12], tokens[3]]
    few = MotionGroundTruth(read_annotations(data.root, data.version, chosen, following=6))
    for place, token in enumerate(chosen):
        index = tokens.index(token)
        for ours, theirs in ((few.vad_plan, whole.vad_plan), (few.uniad_plan, whole.uniad_plan)):
            a, b = ours(place), theirs(index)
            np.testing.assert_array_equal(a.path, b.path)
            np.testing.assert_array_equal(a.traffic.positions, b.traffic.positions)
        np.testing.assert_array_equal(few.motion(place).steps, whole.motion(index).steps)


def test_uniads_traffic_is_what_is_annotated_later(synthetic_data: NuScenes) -> None:
    """By another way: the later sample's own boxes, moved through the global frame, seen from above."""
    tokens = [token for scene in synthetic_data.scenes() for token in scene.samples]
    ours = MotionGroundTruth(read_annotations(synthetic_data.root, synthetic_data.version, tokens, following=6))
    first, later = tokens[0], tokens[2]
    plan = ours.uniad_plan(0)
    lidar, away = _lidar_to_global(synthetic_data.sample(first)), synthetic_data.sample(later)
    moved = np.linalg.inv(lidar) @ _lidar_to_global(away)
    np.testing.assert_allclose(plan.path[1], moved[:2, 3], atol=0.03)  # UniAD's point lies 0.78 m lower
    there = [box for box in synthetic_data.ground_truth(later) if box.class_name in VEHICLES]
    present = np.flatnonzero(plan.traffic.present[:, 1])
    assert len(present) == len(there) > 3
    to_lidar = np.linalg.inv(lidar) @ _pose(away["ego2global"])
    for row, box in zip(present, there, strict=True):
        center = to_lidar @ np.append(box.center, 1.0)
        ahead = to_lidar[:3, :3] @ rotation_matrix(box.rotation_wxyz)[:, 0]
        np.testing.assert_allclose(plan.traffic.positions[row, 1], center[:2], atol=0.1)
        apart = plan.traffic.yaws[row, 1] - np.arctan2(ahead[1], ahead[0])
        assert abs((apart + np.pi) % (2 * np.pi) - np.pi) < 0.02
        np.testing.assert_allclose(plan.traffic.sizes_lw[row], (box.size_wlh[1], box.size_wlh[0]), atol=1e-6)


def _pose(pose: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_matrix(pose["rotation_wxyz"]), pose["translation"]
    return matrix


def _lidar_to_global(sample: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return _pose(sample["lidar"]["ego2global"]) @ _pose(sample["lidar"]["sensor2ego"])


@pytest.mark.full
def test_vads_own_metrics_stand_beside_ours(
    planned: tuple[NuScenes, MotionGroundTruth, list[str]], layout: Layout, tmp_path: Path
) -> None:
    if not (layout.root / "submodules" / "VAD" / "projects").is_dir():
        pytest.skip("submodules/VAD is not checked out: git submodule update --init submodules/VAD")
    try:
        ensure_official(layout, "vad", say=print)
    except EnvError as error:
        pytest.skip(f"VAD's metrics cannot be installed: {error}")
    data, futures, tokens = planned
    run = write_planned_run(tmp_path / "aside", data, futures, tokens, aside_m=0.8, failed=frozenset(tokens[3:4]))
    summary = evaluate_run(run, data, layout=layout, say=print, official=True)
    official = {one["protocol"]: one for one in summary["official"]}
    for protocol, least in ((STP3, 11), (VAD_MOTION, 8)):
        assert official[protocol]["package"] == "VAD"
        assert sum(metric["value"] is not None for metric in official[protocol]["metrics"]) == least
        # A plan of a record is a path, VAD's are steps: adding them up again costs a digit of single precision.
        assert official[protocol]["max_abs_difference"] < 1e-6
    assert values_of(summary, STP3)["L2_3s"] == pytest.approx(0.8, abs=0.5)


@pytest.mark.full
def test_equal_to_the_files_of_vads_converter(synthetic_data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    """Boxes, futures and the driven path as VAD's own converter writes them, to the last digit of single precision."""
    sources = {name: layout.root / "submodules" / name for name in ("VAD", "mmdetection3d-0.17.2")}
    for name, folder in sources.items():
        if not any(folder.glob("*")):
            pytest.skip(f"submodules/{name} is not checked out: git submodule update --init submodules/{name}")
    try:
        environment = ensure_official(layout, "nuscenes", say=print)
    except EnvError as error:
        pytest.skip(f"nuscenes-devkit cannot be installed: {error}")
    out = tmp_path / "truth.npz"
    program = Path(__file__).with_name("vad_truth_oracle.py")
    command = [environment.python, program, "--dataroot", synthetic_data.root, "--version", synthetic_data.version]
    command += ["--vad", sources["VAD"], "--mmdet3d", sources["mmdetection3d-0.17.2"], "--out", out]
    subprocess.run([str(part) for part in command], check=True, timeout=600)
    with np.load(out) as file:
        theirs = {name: file[name] for name in file.files}
    tokens = [str(token) for token in theirs["token"]]
    ours = MotionGroundTruth(read_annotations(synthetic_data.root, synthetic_data.version, tokens, following=6))
    ends = np.cumsum(theirs["count"])[:-1]
    fields = ("gt_boxes", "gt_agent_fut_trajs", "gt_names", "valid_flag")
    each = {name: np.split(theirs[name], ends) for name in fields}
    compared = 0
    for index in range(len(tokens)):
        boxes = each["gt_boxes"][index].astype(np.float32)
        near = (np.abs(boxes[:, 0]) < 15) & (np.abs(boxes[:, 1]) < 30)
        counts = near & each["valid_flag"][index] & np.isin(each["gt_names"][index], list(LABELS))
        motion, plan = ours.motion(index), ours.vad_plan(index)
        np.testing.assert_array_equal(motion.centers, boxes[counts, :2])
        np.testing.assert_array_equal(motion.steps.reshape(-1, 12), each["gt_agent_fut_trajs"][index][counts])
        steps = theirs["gt_ego_fut_trajs"][index].astype(np.float64)
        np.testing.assert_array_equal(plan.path, np.cumsum(steps, axis=0).astype(np.float32))
        np.testing.assert_array_equal(plan.known, theirs["gt_ego_fut_masks"][index] == 1)
        compared += len(motion.labels)
    assert compared > 20
