"""The whole command on lane graphs at OpenLane-V2's size: `admlops evaluate`, from a run's files to metrics.json.

Ours is the time of the command as a process: it starts, reads records and annotations, and computes both protocols. The
official side is one devkit's program from a file of frames to numbers, and it computes one protocol. Its time is scaled
from the first frames.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks.evaluation_lanes import FRAMES, OFFICIAL_FRAMES, SAMPLES, SEED, Frame
from benchmarks.evaluation_row import Row, Timing, describe_share, timed
from tests.evaluation.generated_lanes import generate_lanes

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES, official_lane_graphs
from admlops.evaluation.lane_graph.protocols import OPENLANE_1_1
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder
from admlops.worker.compact_json import encode
from admlops.worker.samples.openlane import SUFFIX

FRAMES_PER_SCENE = 40
VERSION = "subset_A"
POINTS_KEPT = 20
"""Of the points of an annotated centreline every 20th counts."""


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> Iterator[Row]:
    """One line; the data set, the run and what the official side takes go to `folder`."""
    count = max(1, round(samples * FRAMES / SAMPLES))
    if not (folder / "runs" / "lanes").is_dir():
        _write(folder, count)
    row = Row(name="admlops evaluate, lane graphs", ours=Timing())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with timed() as ours:
        subprocess.run(
            [sys.executable, "-m", "admlops", "evaluate", str(folder / "runs" / "lanes")],
            check=True,
            env={**os.environ, "ADMLOPS_REP_PATH": str(folder)},
            stdout=subprocess.DEVNULL,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = replace(row, ours=ours, peak_mb=after.ru_maxrss / 1e3)
    part = min(count, official_samples or OFFICIAL_FRAMES) if official else 0
    yield _beside(row, folder, count, part) if part else row


def _beside(row: Row, folder: Path, count: int, part: int) -> Row:
    """The row with the devkit's whole program on the first frames."""
    layout = find_layout()
    try:
        environment = ensure_official(layout, OFFICIAL_NAMES[OPENLANE_1_1], say=lambda _: None)
    except EnvError as error:
        return replace(row, note=f"the devkit cannot be installed: {error.message}")
    frames = list(generate_lanes(part, seed=SEED))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with timed() as theirs:
        official_lane_graphs(frames, protocol=OPENLANE_1_1, environment=environment, layout=layout, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    scaled = Timing(wall_s=theirs.wall_s * count / part, cpu_s=cpu_s * count / part, load=theirs.load)
    return replace(row, official=scaled, measured=describe_share(part, count, "frames"))


def _write(folder: Path, count: int) -> None:
    """A data set without pictures, and a run over it, frame after frame."""
    root = folder / "data"
    scenes = {f"{number:05d}": range(start, min(start + FRAMES_PER_SCENE, count))
              for number, start in enumerate(range(0, count, FRAMES_PER_SCENE))}  # fmt: skip
    stamps = {segment: [f"{1_000_000 + index}.json" for index in own] for segment, own in scenes.items()}
    root.mkdir(parents=True, exist_ok=True)
    (root / f"data_dict_{VERSION}.json").write_text(json.dumps({"val": stamps}))
    records = RunFolder.create(folder / "runs" / "lanes", _header(root, scenes))
    frames = generate_lanes(count, seed=SEED)
    for segment, own in scenes.items():
        info = root / "val" / segment / "info"
        info.mkdir(parents=True, exist_ok=True)
        lines = []
        for place, index in enumerate(own):
            frame = next(frames)
            (info / f"{1_000_000 + index}{SUFFIX}").write_bytes(msgspec.json.encode(_annotation(frame[0])))
            lines.append(_record(frame, segment, index, place))
        (records.records_path / f"val-{segment}.jsonl").write_bytes(b"".join(lines))
    records.update(state="complete")


def _header(root: Path, scenes: dict[str, range]) -> RunHeader:
    return RunHeader(
        run="lanes",
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


def _record(frame: Frame, segment: str, index: int, place: int) -> bytes:
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
        "lane_to_lane": np.clip(np.asarray(found.lane_to_lane), 0, 1).tolist(),
        "lane_to_traffic": np.clip(np.asarray(found.lane_to_traffic), 0, 1).tolist(),
    }
    return encode({"schema": 1, "metadata": {**metadata, **token}, "lane_graph": graph}) + b"\n"
