"""Evaluated runs of two models that do not exist, made from ground truth and noise, on a data set of a few tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from tests.evaluation.oracle_records import truth_record
from tests.fabricated_nuscenes import VERSION, write_map, write_tables

from admlops.core.paths import Layout, find_layout
from admlops.datasets.nuscenes.tables import NuScenes, tokens_digest
from admlops.evaluation.evaluate import evaluate_run
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder


def write_data(root: Path) -> NuScenes:
    """Three scenes of three samples: tables and a map, no pictures."""
    write_map(write_tables(root))
    return NuScenes(root, VERSION)


def write_noisy_run(
    path: Path, data: NuScenes, model: str, *, noise: float, scenes: int | None = None, weights: str | None = None
) -> RunFolder:
    """A complete run of `model` over the first `scenes` scenes: ground truth, moved by `noise` (about metres)."""
    chosen = list(data.scenes())[:scenes]
    tokens = [token for scene in chosen for token in scene.samples]
    header = RunHeader(
        run=path.name,
        model=model,
        variant="modern",
        environment=EnvironmentInfo(name=f"{model}-modern", digest="d" * 64, backend="venv", python="3.11"),
        data=DataInfo(
            root=str(data.root),
            version=data.version,
            split="mini_val" if scenes is None else None,
            samples_sha256=tokens_digest(tokens),
            synthetic=False,
        ),
        provenance=Provenance(commit="c" * 40, admlops="0", host="a test"),
        scenes={scene.name: len(scene.samples) for scene in chosen},
        settings={"device": "cpu", "precision": "authors", "options": {"weights": weights} if weights else {}},
        created="2026-01-01T00:00:00+00:00",
    )
    run = RunFolder.create(path, header)
    for scene in chosen:
        with run.scene_writer(scene.name) as writer:
            for token in scene.samples:
                record = truth_record(data, token, noise=noise)
                metadata = msgspec.structs.replace(record.metadata, model_name=model, run=path.name)
                writer.append(msgspec.structs.replace(record, metadata=metadata))
            writer.commit()
    run.end("complete")
    run.write_manifest()
    return run


@dataclass(frozen=True)
class NoisyRuns:
    """The data set, and the runs `near` (of the model Near) and `far` (of Far) in the layout's `runs/`."""

    layout: Layout
    data: NuScenes
    near: RunFolder
    far: RunFolder


def write_noisy_runs(folder: Path) -> NoisyRuns:
    """Both runs, evaluated."""
    layout = replace(find_layout(), repository=folder / "repository")
    data = write_data(folder / "nuscenes")
    runs = []
    for name, noise in (("near", 0.2), ("far", 0.8)):
        run = write_noisy_run(layout.runs / name, data, name.capitalize(), noise=noise)
        evaluate_run(run, data, layout=layout, say=lambda _line: None)
        run.write_manifest()
        runs.append(run)
    return NoisyRuns(layout, data, *runs)
