"""Odd input: the page is whole, says what is missing, and never runs what a file says."""

from __future__ import annotations

import json
from dataclasses import replace as replaced
from html import escape
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace
from playwright.sync_api import Browser
from tests.reports.browser import open_tab
from tests.reports.fabricate import FakeData, make_data, make_metadata, make_metrics, make_record, make_run

from admlops.pipeline.run_data import RunData
from admlops.reports.html import render_report
from admlops.reports.samples import MAX_PACKED, SampleSet
from admlops.reports.sections import SECTIONS
from admlops.results.record import MapElement, Record

SHORT_IDS = ("summary", "speed", "classes", "confusion", "worst")
SHORT = [section for section in SECTIONS if section.id in SHORT_IDS]
"""Without most of the charts, which take long and are tested apart."""

EVIL = '<img src=x onerror="window.evil=1"></script><script>window.evil=1</script>'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


def packed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.split('id="packed">')[1].split("</script>")[0])
    return found


def on_other_samples(run: RunData, root: str) -> RunData:
    """The run, made on another data set whose samples have names of their own."""
    assert run.header is not None
    assert run.metrics is not None
    header = replace(run.header, data=replace(run.header.data, root=root, samples_sha256="0" * 64))
    samples = [replace(meta, sample_token=f"other-{meta.sample_token}", scene="scene-0001") for meta in run.samples]
    records = [make_record(meta) for meta in samples]
    metrics = {**run.metrics, "data": {**run.metrics["data"], "samples_sha256": "0" * 64}, "worst": []}
    return replaced(run, header=header, samples=samples, records=records, worst=records[:2], metrics=metrics)


def test_a_run_with_failed_samples_only() -> None:
    run = make_run(failed=70)
    samples = [meta for meta in run.samples if meta.status == "failed"]
    records = [Record(schema=1, metadata=meta) for meta in samples]
    bare = replaced(run, samples=samples, records=records, worst=(), metrics=None, latency=None)
    text = render_report([bare], None, data=None, sections=SHORT)
    assert "70 of 70" in text
    assert all(not sample["runs"] and sample["failed"] == [0] for sample in packed(text)["samples"])


def test_models_of_unlike_data_stand_apart(data: FakeData, tmp_path: Path) -> None:
    here = make_run("A")
    other = on_other_samples(make_run("B"), str(tmp_path))
    text = render_report([here, other], {}, data=data, sections=SHORT)
    assert text.count("Models on 80 samples") == 2
    scenes = {sample["scene"]: set(sample["runs"]) for sample in packed(text)["samples"]}
    assert scenes == {"scene-0103": {"0"}, "scene-0916": {"0"}, "scene-0001": {"1"}}
    assert "against median time" not in text


def test_models_of_unlike_tasks_are_judged_by_what_they_do(data: FakeData) -> None:
    boxes, lines = make_run("Boxes"), make_run("Lines")
    boxes = replaced(boxes, records=[replace(record, map_elements=UNSET) for record in boxes.records])
    lines = replaced(lines, records=[replace(record, detections_3d=UNSET) for record in lines.records])
    sample = packed(render_report([boxes, lines], {}, data=data, sections=SHORT))["samples"][5]
    assert [sample["runs"][number][2] for number in ("0", "1")] == ["b", "m"]
    assert all(sample["truth"])


def test_eighty_scenes_keep_those_of_the_worst_samples() -> None:
    metas = make_metadata("A", samples=80 * 40)
    metas = [replace(meta, scene=f"scene-{index // 40:04d}") for index, meta in enumerate(metas)]
    run = make_run("A")
    records = [make_record(meta) for meta in metas]
    big = replaced(run, samples=metas, records=records, worst=[records[41 * 40 + 3], records[7]])
    found = SampleSet(ran=[("A", big)], data=None)
    scenes = {found.metadata[place].scene for place in found.packed_places}
    assert {"scene-0041", "scene-0000"} <= scenes
    assert len(found.packed_places) == MAX_PACKED
    content = packed(render_report([big], None, data=None, sections=SHORT))
    assert (len(content["samples"]), content["total"]) == (MAX_PACKED, 3200)


def test_metrics_that_are_no_numbers(data: FakeData) -> None:
    run = make_run("A")
    text = json.dumps(make_metrics(run.name))
    text = text.replace('"value": 0.31,', '"value": NaN,').replace('"value": 0.42,', '"value": Infinity,')
    assert "NaN" in text
    assert "Infinity" in text
    broken = replaced(run, metrics=json.loads(text, parse_constant=lambda _: None))
    page = render_report([broken, make_run("B")], {}, data=data, sections=SHORT)
    assert ">nan" not in page.lower()
    assert "NaN" not in page.split("</style>")[1].split("<script>")[0]


@pytest.mark.browser
def test_class_names_cannot_run_anything(browser: Browser, data: FakeData, tmp_path: Path) -> None:
    """Names with markup in records, metrics, scenes and labels are shown as they are."""
    run = make_run(EVIL)
    metas = [replace(meta, scene=EVIL, sample_token=f"{EVIL}{meta.index_in_scene}") for meta in run.samples[:4]]
    element = MapElement(id=0, type=EVIL, points=[(0.0, 0.0), (9.0, 9.0)], confidence=0.9)
    records = [replace(make_record(meta), map_elements=[element]) for meta in metas]
    metrics = json.loads(json.dumps(make_metrics(run.name)).replace('"car"', json.dumps(EVIL)))
    evil = replaced(run, samples=metas, records=records, worst=records[:1], metrics=metrics)
    path = tmp_path / "evil.html"
    path.write_text(render_report([evil, make_run("B")], {}, data=FakeData(tmp_path / "none"), sections=SHORT))
    assert EVIL not in path.read_text()
    assert escape(EVIL) in path.read_text().replace("&#34;", "&quot;")
    with open_tab(
        browser, path, address=f"#?scene={EVIL.replace('#', '')}&class=nonsense&cut=abc&summary-0.sort=99d"
    ) as tab:
        tab.page.locator("#explorer [name=next]").click()
        tab.page.locator("#stage figure").first.click()
        assert tab.page.evaluate("typeof window.evil") == "undefined"
        assert tab.trouble == []
