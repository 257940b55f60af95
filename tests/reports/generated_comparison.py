"""A comparison of made-up models on synthetic scenes: their records are the ground truth, more or less spoilt.

Model number 0 is the best and the slowest. Every record also has boxes that nobody needs, as real detectors give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from admlops.core.nuscenes_classes import CLASSES
from admlops.core.paths import Layout
from admlops.datasets.annotations import GroundTruthBox
from admlops.datasets.nuscenes.tables import NuScenes, tokens_digest
from admlops.datasets.nuscenes.vector_map import patch_to_ego, sample_vectors
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Box3D, Detection3D, MapElement, Metadata, Record
from admlops.results.run_folder import RunFolder
from admlops.synthetic import SynthesisOptions, synthesize

MODELS = ("MapTR", "PETR", "StreamPETR", "TopoMLP", "VAD", "GroundPlane")


def generate_comparison(
    folder: Path, layout: Layout, *, models: int, scenes: int, samples: int, clutter: int, scale: float = 0.5
) -> tuple[list[RunData], NuScenes]:
    """Make the scenes, the runs of `models` models and their evaluation below `folder`.

    Args:
        samples: of each scene.
        clutter: how many boxes a record has that are near nothing.
        scale: of the pictures, times 1600 x 900 pixels.
    """
    root = folder / "data"
    if not root.is_dir():
        synthesize(root, SynthesisOptions(scenes=scenes, samples=samples, seed=3, scale=scale, camera_sweeps=0))
    data = NuScenes(root, "v1.0-mini")
    rows = []
    for number, model in enumerate(MODELS[:models]):
        run = _write_run(folder / model, model, number, data, clutter)
        with run.lock():
            evaluate_run(run, data, layout=replace(layout, repository=folder), say=lambda _: None)
        rows.append(load_run_data(run))
    return rows, data


def _write_run(path: Path, model: str, number: int, data: NuScenes, clutter: int) -> RunFolder:
    scenes = data.scenes()
    tokens = [token for scene in scenes for token in scene.samples]
    header = RunHeader(
        run=f"{model}-20260102-030405-0a1b2c",
        model=model,
        variant="modern",
        environment=EnvironmentInfo(name=f"{model}-modern", digest="ab" * 32, backend="venv", python="3.11.9"),
        data=DataInfo(
            root=str(data.root), version=data.version, split=None, samples_sha256=tokens_digest(tokens), synthetic=True
        ),
        provenance=Provenance(commit=None, admlops="0.2.0", host="generated"),
        scenes={scene.name: len(scene.samples) for scene in scenes},
        settings={"device": "cpu"},
        created="2026-01-02T03:04:05+00:00",
    )
    run = RunFolder.create(path, header)
    chance = np.random.default_rng(number)
    for scene in scenes:
        with run.scene_writer(scene.name) as writer:
            for index, token in enumerate(scene.samples):
                time_s = 0.04 * (6 - number) + float(chance.gamma(2, 0.003)) + (0.1 if index == 0 else 0)
                metadata = Metadata(
                    model_name=model,
                    variant="modern",
                    run=header.run,
                    sample_token=token,
                    scene=scene.name,
                    index_in_scene=index,
                    status="ok",
                    inference_time=time_s,
                    end_to_end_time=time_s + 0.03,
                )
                writer.append(_spoil(metadata, data, number, clutter, chance))
            writer.commit()
    run.update(state="complete")
    return run


def _spoil(metadata: Metadata, data: NuScenes, number: int, clutter: int, chance: np.random.Generator) -> Record:
    token = metadata.sample_token
    sample = data.sample(token)
    boxes = [*_seen(data.ground_truth(token), number, chance), *_clutter(clutter, chance)]
    detections = [
        Detection3D(id=index, class_name=name, confidence=confidence, bbox_3d=box)
        for index, (name, confidence, box) in enumerate(boxes)
    ]
    elements: Any = {}
    if MODELS[number] not in ("PETR", "StreamPETR"):  # they see no map
        vectors = sample_vectors(data.root / "maps", data.location(token), sample)
        elements = {
            "map_elements": [
                MapElement(
                    id=index,
                    type=vector.type,
                    points=[
                        (x, y)
                        for x, y in patch_to_ego(
                            vector.points + chance.normal(0, 0.2 + 0.1 * number, 2), sample
                        ).tolist()
                    ],
                    confidence=float(chance.uniform(0.3, 1)),
                )
                for index, vector in enumerate(vectors)
            ]
        }
    return Record(schema=1, metadata=metadata, detections_3d=detections, **elements)


def _seen(truth: list[GroundTruthBox], number: int, chance: np.random.Generator) -> Iterator[tuple[str, float, Box3D]]:
    for box in truth:
        distance = math.hypot(*box.center[:2])
        if chance.random() < 0.04 * (number + 1) + distance / 120:
            continue
        name = str(chance.choice(CLASSES)) if chance.random() < 0.04 * number else box.class_name
        moved = np.asarray(box.center) + chance.normal(0, 0.1 + 0.12 * number, 3) * (1, 1, 0.3)
        x, y, z = moved.tolist()
        yaw = 2 * math.atan2(box.rotation_wxyz[3], box.rotation_wxyz[0]) + chance.normal(0, 0.05 * (number + 1))
        turned = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
        seen = Box3D(center=(x, y, z), size_wlh=box.size_wlh, rotation_wxyz=turned, velocity=(0.0, 0.0))
        yield name, float(np.clip(chance.beta(6, 2 + distance / 20), 0, 1)), seen


def _clutter(count: int, chance: np.random.Generator) -> Iterator[tuple[str, float, Box3D]]:
    for _ in range(count):
        x, y = chance.uniform(-50, 50, 2).tolist()
        half = chance.uniform(-math.pi, math.pi) / 2
        box = Box3D(
            center=(x, y, 0.8),
            size_wlh=(1.8, 4.2, 1.6),
            rotation_wxyz=(math.cos(half), 0.0, 0.0, math.sin(half)),
            velocity=(0.0, 0.0),
        )
        yield str(chance.choice(CLASSES)), float(chance.beta(1.2, 12)), box
