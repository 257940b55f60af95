"""The whole command: `admlops evaluate`, from a run's files to metrics.json, beside the official script's process.

Both sides begin with files and end with numbers; what makes their files does not count. Ours computes every protocol of
its task, with intervals, slices and worst samples; the official side is one script and computes one protocol.

Boxes: `evaluation_detection.py`. Map elements: `evaluation_map_command.py`. Lane graphs: a run as it always was,
with whole matrices of relations, and the same run with the likely entries alone. The devkits run on the first frames:
what they say of their own time is scaled, their start and reading are counted once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks import evaluation_detection, evaluation_map_command
from benchmarks.evaluation_lanes import FRAMES, OFFICIAL_FRAMES, SAMPLES, SEED, Frame
from benchmarks.evaluation_row import Row, Timing, describe_share
from benchmarks.whole_process import time_process
from tests.evaluation.generated_lanes import generate_lanes

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.environments import ensure_official
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth, in_arrays, prediction_of
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES, PROGRAM, write_frames
from admlops.evaluation.lane_graph.protocols import METRICS, OPENLANE_1_0, OPENLANE_1_1
from admlops.evaluation.lane_graph.scores import evaluate_lane_graphs
from admlops.evaluation.metrics import metrics_of
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder
from admlops.worker.compact_json import encode
from admlops.worker.mmlab.common.relations import relation
from admlops.worker.samples.openlane import SUFFIX

FRAMES_PER_SCENE = 40
VERSION = "subset_A"
POINTS_KEPT = 20
"""Of the points of an annotated centreline every 20th counts."""
RUNS = {"whole": "whole matrices", "likely": "likely entries"}


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> Iterator[Row]:
    """Boxes, map elements, then lane graphs; data sets, runs and what the official sides take go to `folder`."""
    boxes, maps = folder / "boxes", folder / "maps"
    boxes.mkdir(exist_ok=True)
    maps.mkdir(exist_ok=True)
    yield evaluation_detection.run(samples, boxes, official=official)[-1]
    yield evaluation_map_command.run(samples, maps, official_samples=official_samples if official else 0)
    yield from _lanes(max(1, round(samples * FRAMES / SAMPLES)), folder, official_samples if official else 0)


def _lanes(count: int, folder: Path, official_frames: int | None) -> Iterator[Row]:
    """A line for each form of the records and each devkit."""
    if not (folder / "runs" / "likely").is_dir():
        _write(folder, count)
    part = min(count, OFFICIAL_FRAMES if official_frames is None else official_frames)
    theirs = {name: _run_devkit(name, folder, count, part) for name in (OPENLANE_1_1, OPENLANE_1_0)} if part else {}
    numbers = []
    for name, form in RUNS.items():
        path = folder / "runs" / name
        ours, peak_mb = time_process(
            [sys.executable, "-m", "admlops", "evaluate", path], {"ADMLOPS_REP_PATH": str(folder)}
        )
        size_mb = sum(one.stat().st_size for one in path.rglob("*.jsonl")) / 1e6
        numbers.append({(one.protocol, one.name): one.value for one in metrics_of(_metrics(path))})
        note = f"both devkits' numbers; {size_mb:.0f} MB of records, {1e3 * size_mb / count:.0f} kB a frame"
        row = Row(name=f"admlops evaluate, lane graphs, {form}", ours=ours, peak_mb=peak_mb, note=note)
        yield from (replace(row, name=f"{row.name}, {protocol}", **own) for protocol, own in theirs.items())
        if not theirs:
            yield row
    if numbers[0] != numbers[1]:
        raise SystemExit(f"the two forms of the records give different numbers: {numbers}")


def _metrics(path: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((path / "metrics.json").read_bytes())
    return metrics


def _run_devkit(protocol: str, folder: Path, count: int, part: int) -> dict[str, Any]:
    """What a row says of a devkit's whole program, on the first frames of the run."""
    layout, name = find_layout(), OFFICIAL_NAMES[protocol]
    try:
        environment = ensure_official(layout, name, say=lambda _: None)
    except EnvError as error:
        return {"note": f"the devkit cannot be installed: {error.message}"}
    frames = list(_read_frames(folder, part))
    given, result = folder / f"{name}.npz", folder / f"{name}.json"
    write_frames(given, frames)
    program = layout.envs / "official" / PROGRAM
    timing, peak_mb = time_process([environment.python, program, "--frames", given, "--out", result])
    said = json.loads(result.read_bytes())
    ours = evaluate_lane_graphs(frames, protocol=protocol).values
    more = count / part - 1
    return {
        "official": Timing(
            wall_s=timing.wall_s + more * said["seconds"],
            cpu_s=timing.cpu_s + more * said["cpu_seconds"],
            load=timing.load,
        ),
        "official_peak_mb": peak_mb,
        "measured": describe_share(part, count, "frames"),
        "max_abs_difference": max(abs(ours[key] - said[key]) for key in METRICS),
    }


def _read_frames(folder: Path, part: int) -> Iterator[Frame]:
    """The first frames of the run and of the data set, as the command reads them."""
    data = OpenLaneV2(folder / "data")
    records = RunFolder.open(folder / "runs" / "whole").records()
    for _, record in zip(range(part), records, strict=False):
        truth = LaneTruth(**vars(data.lane_annotation(record.metadata.sample_token)))
        yield truth, in_arrays(prediction_of(record))


def _write(folder: Path, count: int) -> None:
    """A data set without pictures, and two runs over it that differ in their form alone, frame after frame."""
    root = folder / "data"
    scenes = {f"{number:05d}": range(start, min(start + FRAMES_PER_SCENE, count))
              for number, start in enumerate(range(0, count, FRAMES_PER_SCENE))}  # fmt: skip
    stamps = {segment: [f"{1_000_000 + index}.json" for index in own] for segment, own in scenes.items()}
    root.mkdir(parents=True, exist_ok=True)
    (root / f"data_dict_{VERSION}.json").write_text(json.dumps({"val": stamps}))
    runs = {name: RunFolder.create(folder / "runs" / name, _header(name, root, scenes)) for name in RUNS}
    frames = generate_lanes(count, seed=SEED)
    for segment, own in scenes.items():
        info = root / "val" / segment / "info"
        info.mkdir(parents=True, exist_ok=True)
        lines: dict[str, list[bytes]] = {name: [] for name in RUNS}
        for place, index in enumerate(own):
            frame = next(frames)
            (info / f"{1_000_000 + index}{SUFFIX}").write_bytes(msgspec.json.encode(_annotation(frame[0])))
            for name, found in lines.items():
                found.append(_record(frame, segment, index, place, whole=name == "whole"))
        for name, found in lines.items():
            (runs[name].records_path / f"val-{segment}.jsonl").write_bytes(b"".join(found))
    for one in runs.values():
        one.update(state="complete")


def _header(name: str, root: Path, scenes: dict[str, range]) -> RunHeader:
    return RunHeader(
        run=name,
        model="Generated",
        variant="modern",
        environment=EnvironmentInfo(name="none", digest="none", backend="venv", python="3.11"),
        data=DataInfo(root=str(root), version=VERSION, split="val", samples_sha256="", synthetic=False),
        provenance=Provenance(commit=None, admlops="0", host="none"),
        scenes={f"val-{segment}": len(own) for segment, own in scenes.items()},
        settings={},
        created="2026-01-01T00:00:00+00:00",
    )


def _annotation(truth: LaneTruth) -> dict[str, Any]:
    lines = [np.repeat(np.asarray(lane), POINTS_KEPT, axis=0)[: 1 - POINTS_KEPT].tolist() for lane in truth.lanes]
    elements = zip(truth.attributes.tolist(), truth.elements.tolist(), strict=True)
    annotation = {
        "lane_centerline": [{"points": line} for line in lines],
        "traffic_element": [{"attribute": kind, "points": [box[:2], box[2:]]} for kind, box in elements],
        "topology_lclc": np.asarray(truth.lane_to_lane).tolist(),
        "topology_lcte": np.asarray(truth.lane_to_traffic).tolist(),
    }
    return {"annotation": annotation}


def _record(frame: Frame, segment: str, index: int, place: int, *, whole: bool) -> bytes:
    found: LanePrediction = frame[1]
    lanes = zip(found.lanes, found.lane_confidences.tolist(), strict=True)
    boxes = zip(found.attributes.tolist(), found.elements.tolist(), found.element_confidences.tolist(), strict=True)
    metadata = {"model_name": "Generated", "variant": "modern", "run": "lanes", "scene": f"val-{segment}"}
    token = {"sample_token": f"val-{segment}-{1_000_000 + index}", "index_in_scene": place, "status": "ok"}
    graph = {
        "lanes": [{"id": id_, "points": line.tolist(), "confidence": sure} for id_, (line, sure) in enumerate(lanes)],
        "traffic_elements": [
            {"id": id_, "attribute": kind, "bbox_xyxy": box, "confidence": sure}
            for id_, (kind, box, sure) in enumerate(boxes)
        ],
        "lane_to_lane": relation(np.clip(np.asarray(found.lane_to_lane), 0, 1), whole=whole),
        "lane_to_traffic": relation(np.clip(np.asarray(found.lane_to_traffic), 0, 1), whole=whole),
    }
    return encode({"schema": 1, "metadata": {**metadata, **token}, "lane_graph": graph}) + b"\n"
