"""Parts of a data set by scene, light and weather, against the evaluation of the part alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.generated_boxes import VERSION, tokens_of, write_tables
from tests.evaluation.generated_lanes import generate_lanes
from tests.evaluation.generated_maps import generate_maps
from tests.evaluation.generated_plans import generate_plans
from tests.evaluation.planned_runs import write_planned_run
from tests.evaluation.test_ap_resampling import generate_images
from tests.evaluation.test_map_ap import evaluate

from admlops.core.paths import Layout
from admlops.datasets.annotations import SampleScene
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.base import Result
from admlops.evaluation.detection_2d.counting import evaluate_counting
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.lane_graph.evaluation import LaneResult
from admlops.evaluation.lane_graph.protocols import PROTOCOLS as LANE_PROTOCOLS
from admlops.evaluation.lane_graph.scores import evaluate_lane_graphs
from admlops.evaluation.motion.scores import evaluate_motion
from admlops.evaluation.planning.protocols import PROTOCOLS as PLAN_PROTOCOLS
from admlops.evaluation.planning.scores import evaluate_planning
from admlops.evaluation.slices import UNDESCRIBED, slice_scenes
from admlops.evaluation.statistics import ap_resampling
from admlops.evaluation.trajectories.ground_truth import MotionGroundTruth
from admlops.evaluation.vector_map.protocols import PROTOCOLS as MAP_PROTOCOLS
from admlops.evaluation.vector_map.protocols import MapProtocol

SAMPLES = 4
DESCRIPTIONS = ("Parked cars", "Night, rain", "Rain, bus", "Night", "Many people")
SCENES = [
    SampleScene(name=f"scene-{index}", description=description, location="")
    for index, description in enumerate(DESCRIPTIONS)
]
ORDER = [SCENES[index] for index in np.random.default_rng(0).permutation(np.repeat(np.arange(len(SCENES)), SAMPLES))]
"""The scene of each sample; the samples of a scene need not follow one another."""

CONDITIONS = {"day": (0, 2, 4), "night": (1, 3), "dry": (0, 3, 4), "rain": (1, 2)}


def check(measure: Callable[[Sequence[int]], Result]) -> None:
    """Every value of every part is that of the evaluation of its samples alone."""
    parts = slice_scenes(measure(range(len(ORDER))), ORDER)
    assert parts is not None
    wanted = {("scene", scene.name): {scene.name} for scene in SCENES}
    wanted |= {("conditions", name): {f"scene-{i}" for i in own} for name, own in CONDITIONS.items()}
    assert {(kind, name) for kind in ("scene", "conditions") for name in parts[kind]} == set(wanted)
    for (kind, name), scenes in wanted.items():
        own = [index for index, scene in enumerate(ORDER) if scene.name in scenes]
        alone = measure(own).metrics("d")
        assert parts["protocol"] == alone[0].protocol
        part = parts[kind][name]
        assert set(part) == {"samples", *(metric.name for metric in alone)}
        assert part["samples"] == len(own)
        for metric in alone:
            assert part[metric.name] == pytest.approx(metric.value, abs=1e-6), (kind, name, metric.name)


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is exact however many true positives a data set has."""
    monkeypatch.setattr(ap_resampling, "PLACES", 3)


@pytest.mark.parametrize("protocol", MAP_PROTOCOLS, ids=lambda protocol: protocol.name)
def test_maps(protocol: MapProtocol) -> None:
    predictions, truth = generate_maps(len(ORDER), seed=5)
    check(lambda own: evaluate([predictions[index] for index in own], [truth[index] for index in own], protocol))


@pytest.mark.parametrize("protocol", LANE_PROTOCOLS)
@pytest.mark.parametrize("decimals", [None, 1])
def test_lane_graphs(protocol: str, decimals: int | None) -> None:
    frames = list(generate_lanes(len(ORDER), seed=6, lanes=40, elements=30, decimals=decimals))

    def measure(own: Sequence[int]) -> Result:
        found = evaluate_lane_graphs([frames[index] for index in own], protocol=protocol)
        return LaneResult(protocol=protocol, evaluation=found)

    check(measure)


@pytest.mark.parametrize("protocol", PLAN_PROTOCOLS)
def test_plans(protocol: str) -> None:
    plans = [sample.for_planning() for sample in generate_plans(len(ORDER), seed=7)]
    check(lambda own: evaluate_planning([plans[index] for index in own], protocol=protocol))


def test_motion() -> None:
    pairs = [sample.for_motion() for sample in generate_plans(len(ORDER), seed=8)]
    check(lambda own: evaluate_motion(pairs[index] for index in own))


def test_counts() -> None:
    images = generate_images(len(ORDER))
    check(lambda own: evaluate_counting(images[index] for index in own))


def test_a_part_without_samples_has_no_values() -> None:
    predictions, truth = generate_maps(2, seed=1)
    day = SampleScene(name="a", description="Sunny", location="")
    parts = slice_scenes(evaluate(predictions, truth), [day, day])
    assert parts is not None
    night = parts["conditions"]["night"]
    assert night["samples"] == 0
    assert {value for name, value in night.items() if name != "samples"} == {None}
    assert parts["conditions"]["day"] == parts["scene"]["a"]


def test_without_descriptions_there_are_scenes_alone() -> None:
    predictions, truth = generate_maps(2, seed=1)
    plain = [SampleScene(name=name, description="", location="") for name in "ab"]
    parts = slice_scenes(evaluate(predictions, truth), plain)
    assert parts is not None
    assert set(parts["scene"]) == {"a", "b"}
    assert parts["conditions"] == {"reason": UNDESCRIBED}


def test_a_run_of_one_scene_has_the_values_of_its_part(layout: Layout, tmp_path: Path) -> None:
    """In `metrics.json`: a scene's part in the whole run, and the metrics of a run over this scene."""
    scenes, samples = 4, 8
    root = write_tables(tmp_path / "nuscenes", scenes=scenes, samples=samples, objects=60)
    data = NuScenes(root, VERSION)

    def summarize(name: str, tokens: list[str]) -> dict[str, Any]:
        futures = MotionGroundTruth(read_annotations(root, VERSION, tokens, following=6))
        run = write_planned_run(tmp_path / name, data, futures, tokens, aside_m=0.7)
        return evaluate_run(run, data, layout=layout, say=print)

    tokens = tokens_of(scenes, samples)
    whole = summarize("whole", tokens)
    for number in range(scenes):
        alone = summarize(f"alone-{number}", tokens[number * samples : (number + 1) * samples])
        for key in ("plan", "plan_uniad", "motion"):
            parts = whole["details"][key]["breakdowns"]
            values = dict(parts["scene"][f"scene-{number:04d}"])
            assert values.pop("samples") == samples
            expected = {m["name"]: m["value"] for m in alone["metrics"] if m["protocol"] == parts["protocol"]}
            assert values == pytest.approx(expected, abs=1e-6)
    conditions = whole["details"]["plan"]["breakdowns"]["conditions"]
    assert conditions["night"] == whole["details"]["plan"]["breakdowns"]["scene"]["scene-0003"]
    assert conditions["rain"] == whole["details"]["plan"]["breakdowns"]["scene"]["scene-0002"]
