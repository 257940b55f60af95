"""The page about cars in pictures: battle cards, n/a with reasons, galleries, energy; and how it looks in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.evaluation.picture_runs import IMAGE, SIZE, cars_of, finder, write_picture_run, write_pictures
from tests.reports.browser import find_violations, launch, open_tab

from admlops.core.paths import find_layout
from admlops.datasets.base import Dataset
from admlops.evaluation.energy.carbon import choose_carbon
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.battle import battle_all, load_contender
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.reports.battle_cards import make_cards
from admlops.reports.car_pictures import draw_pictures, make_tables
from admlops.reports.html import render_report
from admlops.reports.summary import summarize_runs
from admlops.results.record import CarPresence, Outputs
from admlops.results.run_folder import RunFolder

COUNT = 14


def write_telemetry(run: RunFolder, watts: float) -> None:
    """3 s of 20 W idle, then 40 s of `watts` for all samples after the first."""
    joules = [(0.0, "idle", 0, 0.0), (3.0, "start", 0, 60.0), (5.0, "measure", 1, 100.0)]
    joules += [(45.0, "end", COUNT, 100.0 + 40 * watts)]
    lines = [
        {
            "t": t,
            "phase": phase,
            "samples": samples,
            "gpus": [],
            "rapl": [{"zone": "package-0", "energy_uj": int(energy * 1e6), "max_energy_uj": 10**12}],
        }
        for t, phase, samples, energy in joules
    ]
    run.telemetry_path.write_text("\n".join(map(json.dumps, lines)))


def classify(index: int) -> Outputs:
    return Outputs(car_presence=[CarPresence(camera=IMAGE, score=0.9 if cars_of(index) else 0.1)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_pictures(tmp_path_factory.mktemp("cars") / "pictures", COUNT)


@pytest.fixture(scope="module")
def folders(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """A good detector with a threshold, a poor one without, and a classifier."""
    runs = tmp_path_factory.mktemp("runs")
    made = [
        write_picture_run(runs / "good", data, finder(0.95, seed=1), model="NanoDet", time_s=0.03),
        write_picture_run(runs / "poor", data, finder(0.3, seed=2), model="Other", time_s=0.06),
        write_picture_run(runs / "sorter", data, classify, model="Classifier", time_s=0.01),
    ]
    for run, watts in zip(made, (60.0, 90.0, 30.0), strict=True):
        write_telemetry(run, watts)
        carbon = choose_carbon("FRA", None, None)
        evaluate_run(run, data, layout=find_layout(), say=lambda _line: None, carbon=carbon)
    return made


@pytest.fixture(scope="module")
def runs(folders: Sequence[RunFolder]) -> list[RunData]:
    return [load_run_data(folder) for folder in folders]


@pytest.fixture(scope="module")
def page(folders: Sequence[RunFolder], runs: list[RunData], data: Dataset) -> str:
    battles = battle_all([load_contender(run.header.model, run) for run in folders])
    return render_report(runs, {"battles": [one.to_json() for one in battles]}, data=data)


def test_each_pair_has_a_card(folders: Sequence[RunFolder]) -> None:
    battles = battle_all([load_contender(run.header.model, run) for run in folders])
    cards = make_cards([one.to_json() for one in battles])
    assert [(one.first, one.second) for one in cards] == [
        ("NanoDet", "Other"),
        ("NanoDet", "Classifier"),
        ("Other", "Classifier"),
    ]
    first = cards[0]
    assert (first.outcome, first.tone, first.metric) == ("NanoDet wins", "good", "AP50")
    assert "NanoDet better" in first.chart
    assert [line.question for line in first.lines] == ["AP50", "speed", "memory", "energy"]
    assert first.lines[3].outcome == "NanoDet wins"
    assert cards[1].protocol.startswith("car_presence.car")
    (empty,) = make_cards([{**battles[0].to_json(), "primary": {**battles[0].primary.to_json(), "interval": None}}])
    assert empty.chart == ""


def test_the_pairs_of_many_models_do_not_lengthen_the_page(
    folders: Sequence[RunFolder], runs: list[RunData], data: Dataset
) -> None:
    """Twelve models have 66 battles: ten cards, and a row each for the rest, folded away."""
    battle = battle_all([load_contender(run.header.model, run) for run in folders])[0].to_json()
    pairs = [f"M{a}-M{b}" for a in range(12) for b in range(a)]
    battles = [{**battle, "models": pair.split("-")} for pair in pairs]
    made = render_report(runs, {"battles": battles}, data=data)
    section = made[made.index('<section id="battles"') :].partition("</section>")[0]
    assert section.count('<article class="battle"') == 10
    assert "The other 56 battles" in section
    assert section.count('<tr><th scope="row">M') == 56
    few = render_report(runs, {"battles": battles[:10]}, data=data)
    assert "The other" not in few[few.index('<section id="battles"') :].partition("</section>")[0]


def test_what_does_not_apply_is_said_with_its_reason_and_never_0(runs: list[RunData]) -> None:
    ran = [(run.model, run) for run in runs]
    tables = {table.protocol.partition("@")[0]: table for table in make_tables(ran)}
    assert list(tables) == [
        "car_detection.car-iou0.5",
        "car_detection.car+truck+bus-iou0.5-nms0.6",
        "car_presence.car",
    ]
    boxes = tables["car_detection.car-iou0.5"]
    place = boxes.columns.index("F1")
    good, poor, sorter = boxes.rows
    assert float(good[3][place].text) > 0
    assert (poor[3][place].text, "operating_threshold" in poor[3][place].why) == ("n/a", True)
    assert {cell.text for cell in sorter[3]} == {"n/a"}
    assert sorter[3][0].why == "a classifier gives no boxes"
    assert "right" in good[4]
    (table,) = summarize_runs(ran)
    columns = [column.name for column in table.columns]
    assert {"AP50", "best_F1", "count_score", "Energy", "CO2e", "Right cars", "Green score"} <= set(columns)
    assert table.rows[1].cells[columns.index("F1")].text == "n/a"
    assert table.rows[0].cells[columns.index("Energy")].text == f"{40 * 40 / (COUNT - 1):.1f}".replace(",", " ")


def test_the_gallery_draws_what_each_run_found_in_the_worst_pictures(runs: list[RunData], data: Dataset) -> None:
    ran = [(run.model, run) for run in runs]
    pictures = draw_pictures(ran, [data])
    assert len(pictures) == 12
    assert [one.label for one in pictures[0].drawn] == ["NanoDet", "Other"]
    for picture in pictures:
        assert picture.title.endswith(".png")
        for number, one in enumerate(picture.drawn):
            counted = {role: len(re.findall(f'<rect class="{role}"', one.svg)) for role in ("right", "wrong", "missed")}
            assert counted == {"right": one.right, "wrong": one.wrong, "missed": one.missed}
            assert ("<image " in one.svg) == (number == 0)
            assert f'viewBox="0 0 {SIZE[0]} {SIZE[1]}"' in one.svg
    assert sum(one.wrong + one.missed for picture in pictures for one in picture.drawn) > 5
    without = draw_pictures(ran, [])
    assert "not at hand" in without[0].note
    assert "<image" not in without[0].drawn[0].svg


def test_a_page_of_pictures_has_no_bird_view_and_says_what_the_data_are(page: str) -> None:
    assert f"{COUNT} pictures, annotations.json, in 1 scene" in page
    assert 'id="battles"' in page
    assert 'id="cars"' in page
    assert 'id="worst"' not in page
    assert 'bird-eye"' not in page
    assert "Cars in pictures, IoU at least 0.5" in page
    assert "car AP50 against energy" in page


@pytest.mark.browser
@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    """Nothing goes wrong, nothing is wider than the window, every picture is drawn, and it can be read by all."""
    file = tmp_path / "report.html"
    file.write_text(page)
    with launch() as browser, open_tab(browser, file, width=width) as tab:
        assert tab.trouble == []
        assert tab.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        sizes = tab.page.evaluate(
            "[...document.querySelectorAll('.car-figure svg.car-picture')].map(s => s.getBoundingClientRect().width)"
        )
        assert len(sizes) == 24
        assert min(sizes) > 250
        assert tab.page.locator(".battle").count() == 3
        assert find_violations(tab.page) == []
