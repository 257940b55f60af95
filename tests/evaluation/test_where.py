"""--where and tags in an evaluation: numbers of chosen samples are those of a run over these samples alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.evaluation.oracle_records import truth_record
from tests.fabricated_nuscenes import VERSION, write_map, write_tables
from tests.noisy_runs import write_noisy_run

from admlops.core.errors import DataError, UsageError
from admlops.core.paths import Layout
from admlops.curation.tags import read_rules
from admlops.curation.where import choose_samples, read_where
from admlops.datasets.base import tokens_digest
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics_files import where_path
from admlops.evaluation.slice_tables import find_tables
from admlops.results.header import WhereInfo, find_difference
from admlops.results.run_folder import RunFolder

CONDITION = "index_in_scene in (1, 3) or tag = 'night'"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    root = write_tables(tmp_path_factory.mktemp("where") / "nuscenes")
    write_map(root)
    path = root / VERSION / "scene.json"
    rows = [
        row | {"description": "Night" if row["name"] == "scene-0916" else "Sun"} for row in json.loads(path.read_text())
    ]
    path.write_text(json.dumps(rows))
    return NuScenes(root, VERSION)


def evaluate(run: RunFolder, data: NuScenes, layout: Layout, **options: Any) -> dict[str, Any]:
    return evaluate_run(run, data, layout=layout, say=lambda _line: None, **options)


def values(metrics: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(one["protocol"], one["name"]): (one["value"], one["n"]) for one in metrics["metrics"]}


def write_part(path: Path, data: NuScenes, whole: RunFolder, chosen: frozenset[str]) -> RunFolder:
    """A run over the chosen samples alone, with the same outputs."""
    scenes = {scene.name: [token for token in scene.samples if token in chosen] for scene in data.scenes()}
    header = msgspec.structs.replace(
        whole.header,
        run=path.name,
        data=msgspec.structs.replace(whole.header.data, split=None, samples_sha256=tokens_digest(chosen)),
        scenes={name: len(tokens) for name, tokens in scenes.items()},
        state="running",
    )
    run = RunFolder.create(path, header)
    for name, tokens in scenes.items():
        with run.scene_writer(name) as writer:
            for token in tokens:
                record = truth_record(data, token, noise=0.5)
                metadata = msgspec.structs.replace(record.metadata, model_name=header.model, run=path.name)
                writer.append(msgspec.structs.replace(record, metadata=metadata))
            writer.commit()
    run.end("complete")
    return run


@pytest.fixture
def whole(data: NuScenes, tmp_path: Path) -> RunFolder:
    return write_noisy_run(tmp_path / "whole", data, "Whole", noise=0.5)


def test_chosen_samples_give_the_numbers_of_a_run_over_them(
    data: NuScenes, whole: RunFolder, layout: Layout, tmp_path: Path
) -> None:
    where = read_where(CONDITION)
    chosen = choose_samples(data, where)
    assert len(chosen) == 2 + 4
    evaluate(whole, data, layout)
    before = whole.metrics_path.read_bytes()
    metrics = evaluate(whole, data, layout, where=where)
    part = evaluate(write_part(tmp_path / "part", data, whole, chosen), data, layout)
    assert values(metrics) == values(part)
    assert metrics["data"]["samples_sha256"] == part["data"]["samples_sha256"] == tokens_digest(chosen)
    assert metrics["data"]["where"] == CONDITION
    assert metrics["data"]["split"] is None
    assert metrics["samples"] == 6
    assert f"evaluated: 6 of 9 samples, those where {CONDITION}" in metrics["notes"]
    assert "energy" not in metrics
    assert whole.metrics_path.read_bytes() == before, "the numbers of the whole run stay"
    written = json.loads(where_path(whole, metrics["data"]["samples_sha256"]).read_text())
    assert values(written) == values(metrics)


def test_a_run_with_a_condition_is_evaluated_on_its_samples(
    data: NuScenes, whole: RunFolder, layout: Layout, tmp_path: Path
) -> None:
    where = read_where(CONDITION)
    tokens = choose_samples(data, where)
    info = WhereInfo(
        condition=CONDITION, tags=where.definitions, samples=len(tokens), samples_sha256=tokens_digest(tokens)
    )
    own = msgspec.structs.replace(whole.header, data=msgspec.structs.replace(whole.header.data, where=info))
    assert find_difference(whole.header, own) == ("data.where", None, info.samples_sha256)
    assert "evaluated are the 6 where" in own.coverage
    whole.header = own
    metrics = evaluate(whole, data, layout)
    assert metrics["data"]["samples_sha256"] == info.samples_sha256
    assert json.loads(whole.metrics_path.read_text())["samples"] == 6
    narrower = evaluate(whole, data, layout, where=read_where("scene = 'scene-0916'"))
    assert narrower["samples"] == 4
    assert narrower["data"]["where"] == f"({CONDITION}) and (scene = 'scene-0916')"
    other = msgspec.structs.replace(info, samples_sha256="0" * 64)
    whole.header = msgspec.structs.replace(own, data=msgspec.structs.replace(own.data, where=other))
    with pytest.raises(DataError, match="was made where"):
        evaluate(whole, data, layout)


def test_a_condition_that_holds_nowhere_is_refused(data: NuScenes, whole: RunFolder, layout: Layout) -> None:
    with pytest.raises(UsageError, match="no sample where speed > 900"):
        evaluate(whole, data, layout, where=read_where("speed > 900"))
    assert not (whole.path / "where").exists()


def test_slices_by_tag_are_those_of_the_conditions(data: NuScenes, whole: RunFolder, layout: Layout) -> None:
    metrics = evaluate(whole, data, layout, rules=read_rules())
    for task in ("detection", "map"):
        slices = metrics["details"][task]["breakdowns"]
        assert slices["tag"]["night"] == slices["conditions"]["night"]
        assert slices["tag"]["day"] == slices["conditions"]["day"]
        assert "rain" not in slices["tag"], "a tag that no sample has is left out"
    tables = find_tables(metrics["details"], ["tag"])
    assert {table.task for table in tables} >= {"detection", "map"}
    plain = evaluate(whole, data, layout)
    assert "tag" not in plain["details"]["detection"]["breakdowns"], "rules are computed only where asked for"
