"""The page: whole, escaped, the same each time, and never a crash where something is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace as replaced
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.reports.fabricate import FakeData, make_data, make_header, make_metadata, make_run

from admlops.core.errors import StorageError
from admlops.pipeline.run_data import RunData
from admlops.reports import load_run_data, missing_model, write_report
from admlops.reports.html import render_report
from admlops.reports.section import Section
from admlops.reports.sections import SECTIONS
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder

EVIL = '<script>alert("x")</script><img src=http://evil.example/x.png>'


class Page(HTMLParser):
    """Counts tags, collects ids, headings, links, scripts and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag == "script":
            self._in_script = True
            self.scripts.append("")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def comparison(report: Path) -> str:
    return report.read_text()


def test_the_page_holds_every_section_and_refers_to_nothing_outside(comparison: str) -> None:
    page = Page(comparison)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "http://" not in comparison.replace("http-equiv", "")
    elsewhere = {"lidar", "battles", "cars", "engines", "throughput"}  # of no made-up run
    assert {section.id for section in SECTIONS} - elsewhere <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags["img"] == 2 * 6  # two samples, the worst of both runs
    assert page.tags["h1"] == 1


def test_only_the_pages_own_scripts_may_run(comparison: str) -> None:
    """The security policy names each script by its digest, and nothing else; data are no script."""
    page = Page(comparison)
    policy = comparison.split('Content-Security-Policy" content="')[1].split('"')[0]
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts]
    assert [digest for digest in digests if digest in allowed] == allowed
    assert len(page.scripts) == len(allowed) + 1
    (packed,) = [text for text, digest in zip(page.scripts, digests, strict=True) if digest not in allowed]
    assert len(json.loads(packed)["samples"]) == 80
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_the_verdict_on_latency_is_not_the_pages_first_word(comparison: str) -> None:
    before, _, after = comparison.partition('<section id="latency"')
    assert "VALID" not in Page(before).text
    assert "admlops run MapTR --run" in Page(after.split("</section>")[0]).text


def test_one_sample_stands_once_with_all_runs(comparison: str) -> None:
    cards = comparison.split('<details class="sample"')[1:]
    assert len(cards) == 2
    for card in (card.split("</details>")[0] for card in cards):
        assert card.count('class="bird-eye"') == 2
        assert "GroundPlane: " in card
        assert "MapTR: " in card


def test_a_section_can_be_added(data: FakeData) -> None:
    """What stands in the list of sections stands in the page, the contents and, with its scripts, in the policy."""
    extra = Section(id="extra", title="Seen anew", template="charts.html.j2", values=lambda _: {"charts": []})
    text = render_report([make_run()], None, data=None, sections=[extra])
    page = Page(text)
    assert "extra" in page.ids
    assert "#extra" in page.links
    assert page.text.count("Seen anew") == 2


def test_parts_of_the_data_stand_side_by_side(comparison: str) -> None:
    """Rings and levels with the recall of every run; empty parts and parts that nobody described are left out."""
    text = re.sub(r"\s+", " ", Page(comparison[comparison.index('<section id="parts"') :]).text)
    text = text[: text.index("Latency")]
    assert "distance 0-10 m2000.8000.8000.6100.7100.6100.710" in text
    assert "visibility 80-100 %600" in text
    assert "light day600" in text
    assert "night" not in text
    assert text.count("2 scenes") == 2
    assert "scene-0916" in text
    assert "mATE" not in text  # every metric only where there is one run
    alone = Page(render_report([make_run()], None, data=None)).text
    assert "mATE" in alone[alone.index("Parts of the data") :]


def test_a_run_without_parts_has_no_such_section() -> None:
    run = make_run()
    assert run.metrics is not None
    bare = {task: {"classes": own["classes"]} for task, own in run.metrics["details"].items()}
    text = render_report([replaced(run, metrics={**run.metrics, "details": bare})], None, data=None)
    assert "parts" not in Page(text).ids
    assert "Parts of the data" not in text


def test_a_model_that_is_not_set_up_has_its_row(comparison: str) -> None:
    page = Page(comparison)
    assert "not set up: no lock. Next: admlops models show VAD" in page.text
    assert "Synthetic data" in page.text


def test_the_verdict_is_said_with_its_reasons(comparison: str) -> None:
    text = Page(comparison).text
    assert "VALID" in text
    assert "3 samples failed and have no time" in text


@pytest.mark.full
def test_the_same_input_gives_the_same_page(data: FakeData) -> None:
    runs = [make_run(failed=1)]
    assert render_report(runs, None, data=data) == render_report([make_run(failed=1)], None, data=data)


def test_names_cannot_inject_markup(data: FakeData) -> None:
    run = make_run()
    samples = [replace(meta, scene=EVIL) for meta in make_metadata("GroundPlane", samples=4)]
    evil = replaced(
        run,
        model=EVIL,
        header=replace(make_header(EVIL, run=EVIL), options={EVIL: EVIL}),
        samples=samples,
        worst=[replace(record, metadata=replace(record.metadata, scene=EVIL)) for record in run.worst],
        notes=(EVIL,),
        worker={"libraries": {EVIL: EVIL}},
    )
    text = render_report([evil, replaced(make_run("B"), model=EVIL)], {}, data=data)
    page = Page(text)
    assert len(page.scripts) == len(re.findall("'sha256-", text)) + 1
    assert "<script>" not in "".join(page.scripts)
    assert all(card.count("<img") == 6 for card in text.split('<details class="sample"')[1:])
    assert "<script>" in page.text
    assert [link for link in page.links if "evil" in link] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": None, "worst": ()},
        {"telemetry": ()},
        {"latency": None, "samples": ()},
        {"metrics": None, "worst": (), "telemetry": (), "latency": None, "samples": (), "claims": ()},
    ],
)
def test_missing_parts_become_sentences(data: FakeData, changed: dict[str, object]) -> None:
    text = Page(render_report([replaced(make_run(), **changed)], None, data=data)).text  # type: ignore[arg-type]
    expected = {
        "metrics": "admlops evaluate RUN",
        "telemetry": "No telemetry was recorded",
        "latency": "No sample was timed",
        "claims": "No published numbers",
    }
    for key in changed:
        assert expected.get(key, "") in text


def test_a_run_that_is_not_evaluated_has_its_pictures_all_the_same(data: FakeData) -> None:
    bare = Page(render_report([replaced(make_run(), metrics=None)], None, data=data))
    assert "admlops evaluate RUN" in bare.text
    assert sum(link.startswith("data:image/") for link in bare.links) >= 6, "those of its cameras"


def test_runs_of_the_same_samples_in_two_places_are_on_one_page(
    data: FakeData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As after a data set was copied to another disk."""
    copied = make_data(tmp_path_factory.mktemp("copy"))
    first, second = make_run("A"), make_run("B")
    assert second.header is not None
    elsewhere = replace(second.header, data=replace(second.header.data, root=str(copied.root)))
    page = Page(render_report([first, replaced(second, header=elsewhere)], None, data=data, also=(copied,)))
    assert page.tags["article"] or page.tags["figure"]
    assert "B" in page.text


def test_the_page_bears_the_date_of_the_newest_run() -> None:
    first, second = make_run("A"), make_run("B")
    assert first.header is not None
    newer = replaced(second, header=replace(first.header, created="2031-05-06T07:08:09+00:00"))
    kicker = render_report([first, newer], None, data=None).split('class="kicker">')[1].split("</p>")[0]
    assert "2031" in kicker


def test_random_weights_are_said_once_and_claims_stay_closed() -> None:
    """Nothing that was published compares with them, so the page does not begin with a table of it."""
    run = make_run("MapTR")
    assert run.header is not None
    header = replace(run.header, settings={"options": {"weights": "random:0"}})
    text = render_report([replaced(run, header=header)], None, data=None)
    chips = text.split('<ul class="chips">')[1].split("</ul>")[0]
    assert chips.lower().count("random weights") == 1
    assert "none comparable" in Page(text).text
    assert "<details open>" not in text.split('id="claims"')[1].split("</section>")[0]
    failed = Page(render_report([replaced(make_run("MapTR", failed=1), header=header)], None, data=None)).text
    assert "Random weights" in failed, "a row that says something else does not say it"


def test_evaluated_without_curves_is_not_told_to_evaluate() -> None:
    run = make_run()
    assert run.metrics is not None
    flat = {task: {**own, "curves": {}} for task, own in run.metrics["details"].items()}
    text = Page(render_report([replaced(run, metrics={**run.metrics, "details": flat})], None, data=None)).text
    assert "There is no curve to draw" in text


def test_only_models_that_are_not_set_up(data: FakeData) -> None:
    text = Page(render_report([missing_model("VAD", hint="Next: x")], {}, data=None)).text
    assert "Nothing was run" in text


def test_a_data_set_that_moved_away_leaves_the_rest() -> None:
    text = Page(render_report([make_run()], None, data=None)).text
    assert "pass --data ROOT" in text
    assert "mAP" in text


def test_all_samples_failed(data: FakeData) -> None:
    run = make_run(failed=70)
    samples = [meta for meta in run.samples if meta.status == "failed"]
    text = Page(render_report([replaced(run, samples=samples, latency=None)], None, data=data)).text
    assert "70 of 70" in text


def test_one_sample_that_is_the_first_of_its_scene(data: FakeData) -> None:
    run: RunData = replaced(make_run(), samples=make_metadata("GroundPlane", samples=1))
    assert "first frame of a scene" in Page(render_report([run], None, data=data)).text


def test_a_real_folder_becomes_a_page(tmp_path: Path) -> None:
    header = replace(make_header(), scenes={"scene-0103": 1})
    run = RunFolder.create(tmp_path / "run", header)
    with run.scene_writer("scene-0103") as writer:
        writer.append(Record(schema=1, metadata=make_metadata("GroundPlane")[0], detections_3d=[]))
        writer.commit()
    path = write_report(run.report_path, [load_run_data(run)], None, data=None)
    assert path == run.report_path
    assert "The run is not evaluated yet" in path.read_text()


def test_an_older_report_survives_a_failed_write(tmp_path: Path) -> None:
    blocked = tmp_path / "report.html"
    blocked.mkdir()
    with pytest.raises(StorageError):
        write_report(blocked, [make_run()], None, data=None)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_templates_lie_in_the_package() -> None:
    names = {entry.name for entry in (resources.files("admlops.reports") / "templates").iterdir()}
    assert {"report.html.j2", "parts.html.j2", "report.css"} <= names


def test_dark_mode_phone_and_paper_have_their_rules(comparison: str) -> None:
    assert re.search(r"@media \(prefers-color-scheme: dark\)", comparison)
    assert '<meta name="viewport"' in comparison
    assert "@media print" in comparison
