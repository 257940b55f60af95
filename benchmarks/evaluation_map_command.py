"""`admlops evaluate` of map elements as a process, beside MapTR's evaluator as a process.

Both begin with files: ours with the records of a run and MapTR's file of ground truth, theirs with both sides' vectors
in the one file that its evaluator takes. Ours gives every protocol of the task, with intervals, slices and worst
samples; theirs the Chamfer AP. It runs on the first samples: what it says of its own time is scaled, its start counts
once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.evaluation_maps import OFFICIAL_SAMPLES
from benchmarks.evaluation_row import Row, Timing, describe_share
from benchmarks.whole_process import time_process
from tests.evaluation.generated_boxes import SAMPLES_PER_SCENE, VERSION, tokens_of, write_tables
from tests.evaluation.generated_maps import CLASSES, Element, Prediction, found_of, generate_maps, truth_of
from tests.evaluation.upstream import find_checkout, how_to_get

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.datasets.base import tokens_digest
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.vector_map import patch_to_ego
from admlops.environments import ensure_official
from admlops.evaluation.vector_map.official_files import OFFICIAL_NAME, official_command, write_vectors
from admlops.evaluation.vector_map.protocols import CHAMFER
from admlops.evaluation.vector_map.scores import evaluate_elements
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder

SEED = 20


def run(samples: int, folder: Path, *, official_samples: int | None = None) -> Row:
    """Measure; what both sides take goes to `folder`. No official side for 0 samples."""
    predictions, elements = generate_maps(samples, seed=SEED)
    truth_file = folder / "truth.json"
    if not truth_file.is_file():
        _write(folder, predictions, elements)
    path = folder / "runs" / "maps"
    command: list[str | Path] = [sys.executable, "-m", "admlops", "evaluate", path, "--map-truth", truth_file]
    ours, peak_mb = time_process(command, {"ADMLOPS_REP_PATH": str(folder)})
    size_mb = sum(one.stat().st_size for one in path.rglob("*.jsonl")) / 1e6
    count = min(samples, OFFICIAL_SAMPLES if official_samples is None else official_samples)
    theirs = _run_official(folder, predictions, elements, count) if count else {}
    note = f"every protocol of the task; {size_mb:.0f} MB of records"
    return Row(**{"name": "admlops evaluate, map elements", "ours": ours, "peak_mb": peak_mb, "note": note, **theirs})


def _run_official(
    folder: Path, predictions: Sequence[Sequence[Prediction]], elements: Sequence[Sequence[Element]], count: int
) -> dict[str, Any]:
    """What a row says of MapTR's whole program on the first samples."""
    layout, checkout = find_layout(), find_checkout("MapTR")
    if checkout is None:
        return {"note": how_to_get("MapTR")}
    try:
        environment = ensure_official(layout, OFFICIAL_NAME, say=lambda _: None)
    except EnvError as error:
        return {"note": f"MapTR's evaluator: {error.message}"}
    found, truth = found_of(predictions[:count], CHAMFER.classes), truth_of(elements[:count])
    vectors, result = folder / "vectors.json", folder / "official.json"
    write_vectors(vectors, found, truth, protocol=CHAMFER)
    words = [*official_command(layout, environment.python, vectors, checkout), "--out", result]
    timing, peak_mb = time_process(words, {key: value or "" for key, value in environment.variables.items()})
    said = json.loads(result.read_bytes())
    curves = evaluate_elements(found, truth, protocol=CHAMFER).curves
    more = len(predictions) / count - 1
    return {
        "official": Timing(
            wall_s=timing.wall_s + more * said["seconds"],
            cpu_s=timing.cpu_s + more * said["cpu_seconds"],
            load=timing.load,
        ),
        "official_peak_mb": peak_mb,
        "measured": describe_share(count, len(predictions), "samples"),
        "max_abs_difference": max(
            abs(curve.ap - said["ap"][name][str(threshold)])
            for name, own in curves.items()
            for threshold, curve in own.items()
        ),
    }


def _write(folder: Path, predictions: Sequence[Sequence[Prediction]], elements: Sequence[Sequence[Element]]) -> None:
    """Tables, a run over them, and MapTR's file of ground truth, which is written last."""
    scenes = -(-len(predictions) // SAMPLES_PER_SCENE)
    data = NuScenes(write_tables(folder / "data", scenes=scenes, objects=1), VERSION)
    tokens = tokens_of(scenes)[: len(predictions)]
    samples = {token: data.sample(token) for token in tokens}
    run_folder = RunFolder.create(folder / "runs" / "maps", _header(data, samples))
    lines: dict[str, list[bytes]] = {}
    for token, own in zip(tokens, predictions, strict=True):
        lines.setdefault(samples[token]["scene"], []).append(_record(samples[token], own))
    for scene, found in lines.items():
        (run_folder.records_path / f"{scene}.jsonl").write_bytes(b"".join(found))
    run_folder.update(state="complete")
    entries = [
        {
            "sample_token": token,
            "vectors": [{"pts": points.tolist(), "type": CLASSES.index(name)} for name, points in own],
        }
        for token, own in zip(tokens, elements, strict=True)
    ]
    (folder / "truth.json").write_bytes(msgspec.json.encode({"GTs": entries}))


def _record(sample: Mapping[str, Any], found: Sequence[Prediction]) -> bytes:
    metadata = {
        "model_name": "Generated",
        "variant": "modern",
        "run": "maps",
        "sample_token": sample["sample_token"],
        "scene": sample["scene"],
        "index_in_scene": sample["index_in_scene"],
        "status": "ok",
        "inference_time": 0.05,
        "end_to_end_time": 0.08,
    }
    elements = [
        {"id": index, "type": name, "points": patch_to_ego(points, sample).tolist(), "confidence": confidence}
        for index, (name, points, confidence) in enumerate(found)
    ]
    return msgspec.json.encode({"schema": 1, "metadata": metadata, "map_elements": elements}) + b"\n"


def _header(data: NuScenes, samples: Mapping[str, Mapping[str, Any]]) -> RunHeader:
    scenes: dict[str, int] = {}
    for sample in samples.values():
        scenes[sample["scene"]] = scenes.get(sample["scene"], 0) + 1
    return RunHeader(
        run="maps",
        model="Generated",
        variant="modern",
        environment=EnvironmentInfo(name="none", digest="none", backend="venv", python="3.11"),
        data=DataInfo(
            root=str(data.root),
            version=VERSION,
            split=None,
            samples_sha256=tokens_digest(samples),
            synthetic=False,
        ),
        provenance=Provenance(commit=None, admlops="0", host="none"),
        scenes=scenes,
        settings={},
        created="2026-01-01T00:00:00+00:00",
    )
