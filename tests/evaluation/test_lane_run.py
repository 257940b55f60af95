"""A run's lane graphs against OpenLane-V2's annotations, through the run folder; with `full`, beside the devkit."""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops, OpenLaneScenes

from admlops.core.errors import DataError, EnvError, RecordError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.environments import ensure_official
from admlops.evaluation import run_outputs
from admlops.evaluation.base import Evaluation
from admlops.evaluation.context import Context
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.lane_graph.lanes import LaneTruth, prediction_of
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES, official_lane_graphs
from admlops.evaluation.lane_graph.protocols import OPENLANE_1_0, OPENLANE_1_1, PROTOCOLS
from admlops.evaluation.metrics import metrics_of
from admlops.reports import draw_sample, load_run_data, view_sample
from admlops.reports.html import render_report
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Failure, Lane, LaneGraph, Metadata, Outputs, Record, TrafficElement
from admlops.results.record_json import encode_record, make_record
from admlops.results.relations import Relation, SparseRelation
from admlops.results.run_folder import RunFolder
from admlops.synthetic.openlane_writer import OpenLaneOptions
from admlops.worker.mmlab.common.relations import relation

NAMES = ("OLS", "DET_l", "DET_t", "TOP_ll", "TOP_lt")


@pytest.fixture(scope="module")
def data(openlane: OpenLaneScenes) -> OpenLaneV2:
    return OpenLaneV2(openlane(OpenLaneOptions(scenes=2, samples=3, seed=1, scale=0.25)))


def truth_graph(data: OpenLaneV2, token: str, *, noise_m: float = 0.0) -> LaneGraph:
    """The annotation as a prediction, its lanes moved by as much; no two confidences of a run are equal."""
    truth = data.lane_annotation(token)
    rng = np.random.default_rng(zlib.crc32(token.encode()))
    best = 0.9 + float(rng.uniform(0, 0.001))
    moved = [lane + rng.normal(0, noise_m, (1, 3)) if noise_m else lane for lane in truth.lanes]
    return LaneGraph(
        lanes=[Lane(id=i, points=lane.tolist(), confidence=best - i * 0.001) for i, lane in enumerate(moved)],
        traffic_elements=[
            TrafficElement(id=i, attribute=int(kind), bbox_xyxy=tuple(box.tolist()), confidence=best - i * 0.001)
            for i, (kind, box) in enumerate(zip(truth.attributes, truth.elements, strict=True))
        ],
        lane_to_lane=(truth.lane_to_lane * rng.uniform(0.6, 0.9, truth.lane_to_lane.shape)).tolist(),
        lane_to_traffic=(truth.lane_to_traffic * rng.uniform(0.6, 0.9, truth.lane_to_traffic.shape)).tolist(),
    )


def records_of(data: OpenLaneV2 | NuScenes, graph: Callable[[str], LaneGraph | None]) -> list[Record]:
    records = []
    for scene in data.scenes():
        for index, token in enumerate(scene.samples):
            found = graph(token)
            failure = Failure(kind="model", message="m", hint="h")
            meta = Metadata(
                model_name="TopoMLP",
                variant="modern",
                run="r",
                sample_token=token,
                scene=scene.name,
                index_in_scene=index,
                status="failed" if found is None else "ok",
                **({"failure": failure} if found is None else {}),  # type: ignore[arg-type]
            )
            records.append(make_record(meta, Outputs() if found is None else Outputs(lane_graph=found)))
    return records


def make_run(
    path: Path, data: OpenLaneV2 | NuScenes, records: Sequence[Record], *, off_distribution: bool = False
) -> RunFolder:
    header = RunHeader(
        run=path.name,
        model="TopoMLP",
        variant="modern",
        environment=EnvironmentInfo(name="e", digest="d", backend="venv", python="3.11"),
        data=DataInfo(root=str(data.root), version=data.version, split="val", samples_sha256="", synthetic=True),
        provenance=Provenance(commit=None, admlops="0", host="h"),
        scenes={scene.name: len(scene.samples) for scene in data.scenes()},
        settings={"options": {"off_distribution": True} if off_distribution else {}},
        created="2026-01-01T00:00:00+00:00",
    )
    run = RunFolder.create(path, header)
    for scene in header.scenes:
        with run.scene_writer(scene) as writer:
            for record in records:
                if record.metadata.scene == scene:
                    writer.append(record)
            writer.commit()
    run.update(state="complete")
    return run


def values_of(run: RunFolder, data: OpenLaneV2, layout: Layout) -> dict[tuple[str, str], float | None]:
    metrics = evaluate_run(run, data, layout=layout, say=print)
    return {(metric.protocol, metric.name): metric.value for metric in metrics_of(metrics)}


def test_the_annotation_as_prediction_is_perfect(data: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", data, records_of(data, lambda token: truth_graph(data, token)))
    values = values_of(run, data, layout)
    assert {name: values[OPENLANE_1_1, name] for name in NAMES} == dict.fromkeys(NAMES, 1.0)
    # Devkit 1.0 averages over cuts at confidences, each of which leaves lanes out.
    assert (values[OPENLANE_1_0, "DET_l"], values[OPENLANE_1_0, "DET_t"]) == (1.0, 1.0)
    assert values[OPENLANE_1_0, "TOP_ll"] != 1.0


def test_moved_lanes_and_failed_samples_cost(
    data: OpenLaneV2, layout: Layout, tmp_path: Path, admlops: Admlops
) -> None:
    first = data.scenes()[0].samples[0]
    records = records_of(data, lambda token: None if token == first else truth_graph(data, token, noise_m=0.8))
    run = make_run(tmp_path / "run", data, records)
    metrics = evaluate_run(run, data, layout=layout, say=print)
    values = {(metric.protocol, metric.name): metric.value for metric in metrics_of(metrics)}
    lanes = values[OPENLANE_1_1, "DET_l"]
    assert lanes is not None
    assert 0.1 < lanes < 0.95
    assert values[OPENLANE_1_0, "DET_l"] == lanes
    assert metrics["failed_samples"] == 1
    details = metrics["details"]["lane_graph"]
    assert set(details["lane_ap"]) == {"1.0", "2.0", "3.0"}
    assert details["lane_ap"]["1.0"] < details["lane_ap"]["3.0"]
    assert details["element_ap"]["yellow"] == 1.0, "on neither side"
    assert set(details["tie_ranges"]) == set(NAMES)
    parts = details["breakdowns"]
    assert (parts["protocol"], set(parts["scene"])) == (OPENLANE_1_1, {scene.name for scene in data.scenes()})
    assert all(set(part) == {"samples", *NAMES} and 0 < part["DET_l"] < 0.95 for part in parts["scene"].values())
    assert "no description" in parts["conditions"]["reason"]
    shown = admlops("evaluate", run.path).stdout
    assert all(name in shown for name in NAMES)
    assert "openlanev2.1.1" in shown


def test_wrong_lanes_are_listed_and_drawn(data: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    """In one frame a lane is missing and another is where none is."""
    spoilt = data.scenes()[0].samples[1]

    def graph(token: str) -> LaneGraph:
        found = truth_graph(data, token)
        if token != spoilt:
            return found
        away = [(x, y + 200.0, z) for x, y, z in found.lanes[0].points]
        lanes = [msgspec.structs.replace(found.lanes[0], points=away), *found.lanes[1:]]
        return msgspec.structs.replace(found, lanes=lanes)

    records = records_of(data, graph)
    run = make_run(tmp_path / "run", data, records)
    metrics = evaluate_run(run, data, layout=layout, say=print)
    (worst,) = metrics["worst"]
    assert (worst["sample_token"], worst["map_misses"], worst["map_false_alarms"]) == (spoilt, 1, 1)
    assert (worst["map_missed"], worst["map_false_alarm_ids"]) == ([0], [0])
    record = next(one for one in records if one.metadata.sample_token == spoilt)
    view = view_sample(record, data, cutoffs=metrics["operating_points"])
    lanes = len(data.lane_annotation(spoilt).lanes)
    assert (view.count("miss"), view.count("false_alarm"), view.count("hit")) == (1, 1, lanes - 1)
    with Image.open(io.BytesIO(draw_sample(view, width=800))) as image:
        assert image.width == 800
    page = render_report([load_run_data(run)], None, data=data)
    assert page.count('src="data:image/jpeg;base64') == 7
    assert "ring front center" in page


def test_off_distribution_is_a_protocol_of_its_own(data: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    records = records_of(data, lambda token: truth_graph(data, token))
    run = make_run(tmp_path / "run", data, records, off_distribution=True)
    marked = {protocol for protocol, _ in values_of(run, data, layout)}
    assert marked == {f"{protocol}.off-distribution" for protocol in PROTOCOLS}


def test_relations_with_spaces_are_read_and_wrong_ones_are_named(
    data: OpenLaneV2, layout: Layout, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", data, records_of(data, lambda token: truth_graph(data, token, noise_m=0.3)))
    values = values_of(run, data, layout)
    path = run.records_path / f"{data.scenes()[0].name}.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert values_of(run, data, layout) == values
    relation = lines[1]["lane_graph"]["lane_to_lane"]
    token = lines[1]["metadata"]["sample_token"]
    for spoil, said in (
        (relation[:-1], "lane_to_lane is not"),
        ([row[:-1] for row in relation], "lane_to_lane is not"),
        ([[2.0] * len(row) for row in relation], "confidences"),
        ([["a"] * len(row) for row in relation], "no list of confidences"),
    ):
        lines[1]["lane_graph"]["lane_to_lane"] = spoil
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(RecordError, match=f"sample {token} .*{said}"):
            evaluate_run(run, data, layout=layout, say=print)


def likely_entries(graph: LaneGraph) -> LaneGraph:
    """The same graph, its relations as an adapter of a large one gives them."""
    found = {name: relation(getattr(graph, name)) for name in ("lane_to_lane", "lane_to_traffic")}
    return msgspec.structs.replace(
        graph,
        **{name: msgspec.convert(own, Relation) for name, own in found.items()},
    )


def test_likely_entries_give_the_numbers_of_whole_matrices(data: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    whole = records_of(data, lambda token: truth_graph(data, token, noise_m=0.4))
    sparse = records_of(data, lambda token: likely_entries(truth_graph(data, token, noise_m=0.4)))
    assert all(isinstance(one.lane_graph.lane_to_lane, SparseRelation) for one in sparse if one.lane_graph)
    runs = [make_run(tmp_path / name, data, records) for name, records in (("whole", whole), ("sparse", sparse))]
    first, second = (evaluate_run(run, data, layout=layout, say=print) for run in runs)
    assert first["metrics"] == second["metrics"]
    assert first["details"] == second["details"]
    assert 0 < next(row["value"] for row in first["metrics"] if row["name"] == "TOP_ll") < 1
    decoded = list(runs[1].records())
    assert [encode_record(record) for record in decoded] == [encode_record(record) for record in sparse]
    for one, other in zip(whole, decoded, strict=True):
        for name in ("lane_to_lane", "lane_to_traffic"):
            np.testing.assert_array_equal(getattr(prediction_of(other), name), getattr(prediction_of(one), name))


def test_damaged_entries_are_named(data: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    records = records_of(data, lambda token: likely_entries(truth_graph(data, token)))
    run = make_run(tmp_path / "run", data, records)
    path = run.records_path / f"{data.scenes()[0].name}.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    entries, token = lines[1]["lane_graph"]["lane_to_lane"], lines[1]["metadata"]["sample_token"]
    lanes = len(lines[1]["lane_graph"]["lanes"])
    for spoil, said in (
        ({"rows": [lanes, *entries["rows"][1:]]}, f"has an entry in row {lanes} and is {lanes} × {lanes}"),
        ({"columns": [*entries["columns"][:-1], lanes]}, f"has an entry in column {lanes}"),
        ({name: [*entries[name], entries[name][0]] for name in ("rows", "columns", "confidences")}, "has 2 entries"),
        ({"confidences": entries["confidences"][1:]}, "has .* not equally many"),
        ({"confidences": [1.5] * len(entries["rows"])}, "has an entry whose confidence is not 0 to 1"),
        ({"columns": ["a"] * len(entries["rows"])}, "is neither a matrix nor its likely entries"),
    ):
        lines[1]["lane_graph"]["lane_to_lane"] = {**entries, **spoil}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(RecordError, match=f"sample {token} .*lane_to_lane {said}"):
            evaluate_run(run, data, layout=layout, say=print)


def test_several_processes_read_what_one_reads(
    data: OpenLaneV2, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data.root, root)
    own = OpenLaneV2(root)
    run = make_run(tmp_path / "run", own, records_of(own, lambda token: truth_graph(own, token, noise_m=0.4)))
    alone = evaluate_run(run, own, layout=layout, say=print)
    monkeypatch.setattr(run_outputs, "WORTH_A_PROCESS_BYTES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    started: list[Sequence[str]] = []
    start = run_outputs._start_helpers

    def watched(
        context: Context, evaluations: Sequence[Evaluation], parts: Sequence[Sequence[str]], folder: Path
    ) -> Any:
        started.extend(parts)
        return start(context, evaluations, parts, folder)

    monkeypatch.setattr(run_outputs, "_start_helpers", watched)
    together = evaluate_run(run, own, layout=layout, say=print)
    assert started == [[own.scenes()[1].name]]
    assert json.dumps(together["operating_points"]) == json.dumps(alone["operating_points"])
    assert together["worst"] == alone["worst"]
    for one, other in zip(alone["metrics"], together["metrics"], strict=True):
        assert other.pop("value") == pytest.approx(one.pop("value"), abs=1e-12)
        assert other == one
    last = own.scenes()[1].samples[-1]
    split, segment, stamp = last.split("-")
    (root / split / segment / "info" / f"{stamp}.json").unlink()  # of a scene that the second process reads
    with pytest.raises(DataError, match=f"{stamp}.json is missing"):
        evaluate_run(run, own, layout=layout, say=print)


def test_nuscenes_has_no_lane_graphs(synthetic_data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    empty = LaneGraph(lanes=[], traffic_elements=[], lane_to_lane=[], lane_to_traffic=[])
    run = make_run(tmp_path / "run", synthetic_data, records_of(synthetic_data, lambda _: empty))
    with pytest.raises(UsageError, match="hold lane_graph, and nuscenes has none"):
        evaluate_run(run, synthetic_data, layout=layout, say=print)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("noise_m", [0.0, 0.8])
def test_the_devkit_says_the_same(
    protocol: str, noise_m: float, data: OpenLaneV2, layout: Layout, tmp_path: Path
) -> None:
    try:
        environment = ensure_official(find_layout(), OFFICIAL_NAMES[protocol], say=print)
    except EnvError as error:
        pytest.skip(error.message.splitlines()[0])
    records = records_of(data, lambda token: truth_graph(data, token, noise_m=noise_m))
    ours = values_of(make_run(tmp_path / "run", data, records), data, layout)
    frames = [
        (LaneTruth(**vars(data.lane_annotation(record.metadata.sample_token))), prediction_of(record))
        for record in records
    ]
    theirs = official_lane_graphs(
        frames, protocol=protocol, environment=environment, layout=find_layout(), folder=tmp_path
    )
    assert {name: ours[protocol, name] for name in NAMES} == pytest.approx(
        {name: theirs[name] for name in NAMES}, abs=1e-6
    )
    assert (theirs["OLS"] == pytest.approx(1.0)) == (noise_m == 0.0 and protocol == OPENLANE_1_1)
