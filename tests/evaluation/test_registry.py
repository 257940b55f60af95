"""What the registered evaluations declare, and that neither declaring nor importing goes round in circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import cast

import pytest

from admlops.catalog.protocols import PROTOCOLS, find_evaluation, find_metric
from admlops.catalog.registries import EVALUATIONS
from admlops.core.paths import find_layout
from admlops.evaluation.base import Evaluation
from admlops.evaluation.slice_tables import KINDS
from admlops.results.record_json import partial_decoder, task_keys

EVERY = [cast("Evaluation", entry) for entry in EVALUATIONS.values()]


@pytest.mark.parametrize("evaluation", EVERY, ids=lambda evaluation: evaluation.id)
def test_a_declaration_is_whole(evaluation: Evaluation) -> None:
    assert EVALUATIONS.get(evaluation.id) is evaluation
    assert find_evaluation(evaluation.protocol) is evaluation
    names = [metric.name for metric in evaluation.metrics]
    assert names == list(PROTOCOLS[evaluation.protocol])
    assert len(set(names)) == len(names) > 0
    for column in evaluation.columns:
        assert any(metric.covers(column.metric) for metric in evaluation.metrics), column
    assert set(evaluation.slices) <= set(KINDS)
    assert evaluation.needs.key in (None, *task_keys())
    partial_decoder(evaluation.needs.record)
    assert evaluation.official


def test_direction_and_unit_come_from_the_evaluation() -> None:
    expected = {
        ("nuscenes.detection_cvpr_2019", "mATE"): (False, "m"),
        ("vad.detection-30x15", "NDS"): (True, ""),
        ("stp3.planning", "L2_avg"): (False, "m"),
        ("uniad.planning", "collision_3s"): (False, ""),
        ("vad.motion", "EPA_car"): (True, ""),
        ("vad.motion", "MR_pedestrian"): (False, ""),
        ("openlanev2.1.1.off-distribution", "OLS"): (True, ""),
        ("counting.iou0.5-confidence0.5@0123456789ab", "count_error_fire truck"): (False, ""),
        ("coco.bbox@0123456789ab", "AP_car"): (True, ""),
        ("latency.batch1", "FPS"): (True, "1/s"),
    }
    for (protocol, name), (higher, unit) in expected.items():
        metric = find_metric(protocol, name)
        assert metric is not None
        assert (metric.higher_is_better, metric.unit) == (higher, unit), (protocol, name)
    assert find_metric("stp3.planning", "NDS") is None


def test_the_catalogue_reads_protocols_without_numerical_libraries() -> None:
    program = (
        "import sys; from admlops.catalog.registries import EVALUATIONS; before = set(sys.modules); "
        "list(EVALUATIONS.values()); print(*(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "admlops.evaluation.detection_3d.declarations" in loaded
    assert not {"numpy", "scipy", "shapely", "pycocotools"} & {name.partition(".")[0] for name in loaded}


def _siblings(folder: Path, package: str) -> dict[str, set[str]]:
    """By module or package below `package`, which of its siblings it imports, at any depth and for types too."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
                other = (node.module or "").removeprefix(f"{package}.").partition(".")[0]
                if other != own:
                    found[own].add(other)
    return found


def test_no_circles() -> None:
    room = find_layout().root / "runners" / "admlops" / "evaluation"
    folders = [room, *(path for path in room.iterdir() if (path / "__init__.py").is_file())]
    for folder in folders:
        package = ".".join(folder.relative_to(room.parents[1]).parts)
        order = list(TopologicalSorter(_siblings(folder, package)).static_order())  # raises CycleError
        assert order or folder.name == "official"


def test_what_is_general_imports_no_task() -> None:
    room = find_layout().root / "runners" / "admlops" / "evaluation"
    graph = _siblings(room, "admlops.evaluation")
    tasks = {path.name for path in room.iterdir() if (path / "declarations.py").is_file()} | {"trajectories"}
    for general in ("base", "context", "metrics", "statistics", "slices", "error_analysis", "official", "run_outputs"):
        assert not graph[general] & tasks, general
    assert not graph["evaluate"] & tasks
