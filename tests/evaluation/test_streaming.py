"""Streams: which output each moment has, what lies between key frames, and what latency costs a model that is right."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.asap_oracle import simulate_by_asap
from tests.evaluation.generated_runs import write_run
from tests.evaluation.upstream import checkout_or_skip
from tests.fabricated_nuscenes import VERSION, write_map, write_tables
from tests.fabricated_stream import add_stream

from admlops.core.paths import Layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.stream import NuScenes12Hz
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.streaming.options import StreamOptions
from admlops.evaluation.streaming.simulation import NONE, draw_latencies, simulate
from admlops.pipeline.stream_curve import describe_curve, stream_curve
from admlops.reports.streaming import render_streaming
from admlops.results.run_folder import RunFolder

VECTORS = {
    60: "– " + " ".join(map(str, range(24))),
    83: "– " + " ".join(map(str, range(24))),
    84: "– – " + " ".join(map(str, range(23))),
    100: "– – 0 1 2 3 4 4 6 7 8 9 10 10 12 13 14 15 16 16 18 19 20 21 22",
    180: "– – – 0 0 2 2 4 4 6 6 8 8 10 10 10 12 12 15 15 17 17 19 19 21",
    300: "– – – – 0 0 0 0 3 3 3 7 7 7 7 10 10 10 14 14 14 14 18 18 18",
}
"""Milliseconds → the input of each of 25 moments, as both benchmarks pair them in exact arithmetic."""


@pytest.mark.parametrize("latency_ms", VECTORS)
def test_pairs_as_the_benchmarks(latency_ms: int) -> None:
    found = simulate([1000 * latency_ms] * 25, moments=25)
    assert " ".join("–" if one == NONE else str(one) for one in found.paired) == VECTORS[latency_ms]


def plain_simulation(latencies_us: list[int], moments: int, *, dynamic: bool) -> list[int]:
    """The rule in words, in fractions of a second: take, finish, then the newest arrived, or the next one's arrival."""
    period, mean = Fraction(1, 12), Fraction(sum(latencies_us), len(latencies_us) * 10**6)
    now, taken, outputs = Fraction(0), 0, []
    while taken < len(latencies_us):
        now = max(now, taken * period) + Fraction(latencies_us[taken], 10**6)
        outputs.append((now, taken))
        arrived = int(now / period)
        if arrived > taken and dynamic:
            tail, after = (now / period) % 1, ((now + mean) / period) % 1
            arrived += tail > after
        taken = max(min(arrived, len(latencies_us) - 1), taken + 1)
    return [next((i for f, i in reversed(outputs) if f <= m * period), NONE) for m in range(moments)]


@pytest.mark.parametrize("schedule", ["newest", "shrinking-tail"])
def test_pairs_as_a_plain_simulation(schedule: str) -> None:
    draws = random.Random(3)
    for _ in range(60):
        latencies = [draws.choice([20_000, 83_333, 100_000, 250_000, draws.randrange(1, 900_000)]) for _ in range(40)]
        mean = round(sum(latencies) / 40)
        latencies[0] += 40 * mean - sum(latencies)  # a whole mean, so that both expect the same
        latencies[0] = max(1, latencies[0])
        if sum(latencies) % 40:
            continue
        found = simulate(latencies, moments=46, schedule=schedule)  # type: ignore[arg-type]
        assert list(found.paired) == plain_simulation(latencies, 46, dynamic=schedule == "shrinking-tail")


def test_draws_are_seeded_by_scene_and_scaled() -> None:
    def draw(seed: int, scene: int) -> list[int]:
        return draw_latencies([10, 20, 30, 40], inputs=50, draw="seeded", seed=seed, scene=scene, factor=Fraction(1, 2))

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2)
    assert draw(0, 1) != draw(1, 1)
    assert set(draw(0, 1)) == {5, 10, 15, 20}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> NuScenes12Hz:
    """Two scenes of 5 and 4 key frames; in one interval two cameras end early, in another three."""
    root = write_tables(tmp_path_factory.mktemp("stream"))
    write_map(root)
    add_stream(root, VERSION, short={"scene-0103-sample-1": 2, "scene-0916-sample-0": 3})
    return NuScenes12Hz(root, VERSION)


def test_inputs_go_on_between_key_frames(stream: NuScenes12Hz) -> None:
    first, second = stream.scenes()
    assert len(first.samples) == 4 * 6 + 1
    assert len(second.samples) == 3 * 6 + 1 - 2, "three cameras ended after four pictures"
    assert first.samples[:7] == (
        "scene-0103-sample-0",
        *(f"scene-0103-sample-0{n}" for n in range(1, 6)),
        "scene-0103-sample-1",
    )
    sample = stream.sample("scene-0103-sample-15")
    ended, front = sample["cameras"]["CAM_FRONT_LEFT"], sample["cameras"]["CAM_FRONT"]
    assert ended["path"].endswith("CAM_FRONT_LEFT-scene-0103-sample-1-3.bin"), "its last picture again"
    assert front["path"].endswith("CAM_FRONT-scene-0103-sample-1-5.bin")
    assert sample["lidar"]["path"].endswith("LIDAR_TOP-scene-0103-sample-1-8.bin")
    assert sample["ego2global"] == sample["lidar"]["ego2global"]
    assert NuScenes12Hz(stream.root, VERSION).sample("scene-0916-sample-23")["index_in_scene"] == 13


def test_annotations_between_key_frames(stream: NuScenes12Hz) -> None:
    truth = stream.stream_truth(["scene-0103"])
    keys = read_annotations(stream.root, VERSION, [f"scene-0103-sample-{n}" for n in range(5)])
    assert len(truth.samples) == 4 * 6 + 1
    row = int(np.flatnonzero(keys.sample == 1)[3])
    after = int(keys.next_row[row])
    between = [i for i in np.flatnonzero(truth.sample == 6 + 2).tolist() if truth.tokens[i] == keys.tokens[row]]
    assert len(between) == 1
    expected = keys.center[row] + (keys.center[after] - keys.center[row]) / 3
    np.testing.assert_allclose(truth.center[between[0]], expected, atol=1e-9)
    steady = (keys.center[after] - keys.center[row])[:2] / 0.5
    np.testing.assert_allclose(truth.velocity[between[0]], steady, atol=1e-6)
    assert set(np.array(truth.tokens)[truth.sample == 6 * 1 + 1]) == {
        keys.tokens[i] for i in np.flatnonzero(keys.sample == 1).tolist() if keys.next_row[i] >= 0
    }


def perfect_run(stream: NuScenes12Hz, folder: Path, *, latency_s: float) -> RunFolder:
    """A run whose boxes are the ground truth at each input, with one latency."""
    truth = make_ground_truth(annotations := stream.stream_truth(["scene-0103"]))
    boxes = replace(truth.boxes, score=np.ones(len(truth.boxes)), velocity=np.nan_to_num(truth.boxes.velocity))
    poses = [stream.sample(token)["ego2global"] for token in truth.samples]
    ego, rotation = (np.array([one[key] for one in poses]) for key in ("translation", "rotation_wxyz"))
    truth = replace(truth, ego=ego, rotation=rotation)
    run = write_run(folder, stream.root, annotations, truth, boxes)
    header = json.loads((folder / "run.json").read_text())
    header["data"]["kind"] = stream.kind
    (folder / "run.json").write_text(json.dumps(header))
    set_latency(run, latency_s)
    return RunFolder.open(folder)


def set_latency(run: RunFolder, latency_s: float) -> None:
    """Give every record one latency."""
    for path in run.records_path.glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            record["metadata"]["inference_time"] = latency_s
        path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_latency_costs_a_perfect_detector(stream: NuScenes12Hz, tmp_path: Path, layout: Layout) -> None:
    run = perfect_run(stream, tmp_path / "drive", latency_s=0.06)
    metrics = evaluate_run(run, stream, layout=layout, say=lambda _: None)
    values = {(one["protocol"], one["name"]): one["value"] for one in metrics["metrics"]}
    details = metrics["details"]["streaming"]
    assert details["offline"]["mAP"] > 0.5
    assert (details["missed"], details["mismatch"], details["in_time"]) == (1, 1.0, 0.0)
    copy, velocity = values["asap.interp-12hz.copy", "mATE-S"], values["asap.interp-12hz.velocity", "mATE-S"]
    assert velocity < copy, "a box that moves by its own velocity is nearer"
    assert not metrics.get("not_evaluated")
    rows = stream_curve(layout, run, StreamOptions(), [Fraction(0), Fraction(1), Fraction(4)])
    assert [row["metrics"]["mAP-S"] for row in rows if ".copy" in row["protocol"]] == sorted(
        [row["metrics"]["mAP-S"] for row in rows if ".copy" in row["protocol"]], reverse=True
    )
    assert rows[0]["metrics"]["mAP-S"] == pytest.approx(details["offline"]["mAP"])
    page = render_streaming(describe_curve(run, StreamOptions(), rows))
    assert page == render_streaming(describe_curve(run, StreamOptions(), rows))
    assert page.count("<svg") == 2, "NDS-S and mAP-S"
    assert all(f"{row['metrics']['mAP-S']:.4f}" in page for row in rows)
    assert "asap.interp-12hz.velocity: " in page, "a screen reader hears the values"
    assert not re.search(r'(src|href)="https?://|<script', page)


def test_staleness_of_an_ordinary_run(stream: NuScenes12Hz, tmp_path: Path, layout: Layout) -> None:
    data = NuScenes(stream.root, VERSION)
    annotations = read_annotations(stream.root, VERSION, [f"scene-0103-sample-{n}" for n in range(5)])
    truth = make_ground_truth(annotations)
    boxes = replace(truth.boxes, score=np.ones(len(truth.boxes)), velocity=np.nan_to_num(truth.boxes.velocity))
    found = {}
    for latency_s in (1e-6, 0.2):
        run = write_run(tmp_path / f"run{latency_s:g}", stream.root, annotations, truth, boxes)
        set_latency(run, latency_s)
        metrics = evaluate_run(run, data, layout=layout, say=lambda _: None, protocols=["staleness.2hz-velocity"])
        found[latency_s] = {m["name"]: m for m in metrics["metrics"] if m["protocol"].startswith("staleness")}
    assert found[0.2]["mATE"]["n"] == 4, "nothing is annotated after the last key frame"
    cars = metrics["details"]["staleness"]["classes"]["car"]
    assert cars["errors"]["trans_err"] < 1e-3, "objects of steady speed are where their velocity says"


@pytest.mark.full
def test_counts_of_a_whole_validation_set(tmp_path: Path) -> None:
    """150 scenes of 6,019 key frames have (6019 - 150) * 6 + 150 moments."""
    from tests import fabricated_nuscenes as fabricated

    counts = {f"scene-{n:04d}": 41 if n < 19 else 40 for n in range(150)}
    assert sum(counts.values()) == 6019
    before = dict(fabricated.SCENES)
    fabricated.SCENES.clear()
    fabricated.SCENES.update(counts)
    try:
        root = write_tables(tmp_path / "val", objects=2)
    finally:
        fabricated.SCENES.clear()
        fabricated.SCENES.update(before)
    add_stream(root, VERSION, short={f"scene-{n:04d}-sample-7": 3 for n in range(40)})
    data = NuScenes12Hz(root, VERSION)
    scenes = data.scenes()
    assert len(data.stream_truth([scene.name for scene in scenes]).samples) == (6019 - 150) * 6 + 150 == 35_364
    assert sum(len(scene.samples) for scene in scenes) == 35_364 - 40 * 2


def test_a_late_model_takes_the_last_input_after_the_stream() -> None:
    found = simulate([83_000] * 3 + [600_000, 1, 1], moments=14)
    assert found.processed == (0, 1, 2, 3, 5)
    assert found.paired[11:] == (5, 5, 5)


def pair_in_turn(draws_us: list[int], *, inputs: int, moments: int) -> list[int | None]:
    """Ours, with one draw an output: what an input takes is known once the simulation has come to it."""
    latencies = [10**9] * inputs
    for number, draw in enumerate(draws_us):
        processed = simulate(latencies, moments=moments).processed
        if number == len(processed):
            break
        latencies[processed[number]] = draw
    return [None if one == NONE else one for one in simulate(latencies, moments=moments).paired]


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_the_authors_simulator_agrees(seed: int, tmp_path: Path) -> None:
    checkout = checkout_or_skip("ASAP")
    random_ = random.Random(seed)
    constant = random_.randrange(10_001, 600_000)
    draws = [constant if seed % 2 else random_.randrange(10_001, 500_000) for _ in range(40)]
    inputs, moments, factor = 25, 25 + 2 * (seed % 3), (0.5, 1.0, 2.0)[seed % 3]
    theirs = simulate_by_asap(
        checkout, draws, inputs=inputs, moments=moments, factor=factor, dynamic=False, folder=tmp_path
    )
    assert theirs == pair_in_turn([round(factor * one) for one in draws], inputs=inputs, moments=moments)
