"""Figures for papers: files that are the same for the same runs, and models that look the same everywhere."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns

from admlops.pipeline.run_data import RunData, load_run_data
from admlops.reports.figure_files import draw_all, encode, write_figures
from admlops.reports.model_style import style_of, styles_of
from admlops.reports.plots import PaperFigure, plot_latency, plot_parts, plot_precision_recall, plot_scores

FIRST_MODELS = ("GroundPlane", "MapTR", "PETR", "StreamPETR", "TopoMLP", "VAD")


@pytest.fixture(scope="module")
def runs(noisy_runs: NoisyRuns) -> list[RunData]:
    return [load_run_data(noisy_runs.near), load_run_data(noisy_runs.far)]


def bar_colours(figure: Figure) -> set[str]:
    return {to_hex(bar.get_facecolor()) for axes in figure.axes for bar in axes.patches if isinstance(bar, Rectangle)}


def test_the_same_runs_give_the_same_bytes(runs: list[RunData]) -> None:
    for form, begin in (("svg", b"<?xml"), ("pdf", b"%PDF")):
        first, again = plot_scores(runs), plot_scores(runs)
        assert first is not None
        assert again is not None
        content = encode(first, form)
        assert content == encode(again, form)
        assert content.startswith(begin)
        for word in (b"CreationDate", b"dc:date"):
            assert word not in content


def test_a_notebook_shows_a_figure_without_pyplot(runs: list[RunData]) -> None:
    figure = plot_latency(runs)
    assert isinstance(figure, PaperFigure)
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.full
def test_every_figure_is_a_whole_svg_and_a_pdf(runs: list[RunData], tmp_path: Path) -> None:
    drawn = dict(draw_all(runs))
    wanted = {"scores-", "class-", "distance-", "scene-", "precision-recall-detection", "latency"}
    assert all(any(name.startswith(begin) for name in drawn) for begin in wanted), sorted(drawn)
    written = write_figures(tmp_path / "figures", runs[:1])
    assert {path.suffix for path in written} == {".svg", ".pdf"}
    for path in written:
        if path.suffix == ".svg":
            assert ET.fromstring(path.read_text()).tag.endswith("svg")
        assert path.stat().st_size < 500_000


def test_a_model_looks_the_same_whoever_stands_beside_it(runs: list[RunData]) -> None:
    both, alone = plot_scores(runs), plot_scores(runs[1:])
    assert both is not None
    assert alone is not None
    assert bar_colours(alone) == {style_of("Far").colour.lower()}
    assert bar_colours(both) == {style_of("Far").colour.lower(), style_of("Near").colour.lower()}
    assert len({style_of(name).colour for name in FIRST_MODELS}) == len(FIRST_MODELS)
    twice = styles_of(["MapTR", "MapTR"])
    assert twice[0].colour == twice[1].colour
    assert twice[0].dashes != twice[1].dashes
    assert twice[0].hatch != twice[1].hatch


def test_bars_are_the_values_and_the_title_says_protocol_and_n(runs: list[RunData]) -> None:
    figure = plot_scores(runs, "nuscenes.detection_cvpr_2019")
    assert figure is not None
    (axes,) = figure.axes
    heights = sorted(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle))
    wanted = sorted(
        one.value for run in runs for one in run.measured if one.name in ("mAP", "NDS") and "nusc" in one.protocol
    )  # type: ignore[type-var]
    assert heights == pytest.approx(wanted)
    assert axes.get_title(loc="left") == "nuscenes.detection_cvpr_2019\nn = 9"


def test_there_is_no_figure_where_there_is_nothing_to_show(runs: list[RunData]) -> None:
    bare = RunData(model="Bare", status="complete")
    assert [plot_scores([bare]), plot_parts([bare], "class"), plot_precision_recall([bare]), plot_latency([bare])] == [
        None, None, None, None,
    ]  # fmt: skip
    assert plot_scores(runs, "no.such-protocol") is None


@pytest.mark.full
def test_the_command_writes_them_beside_the_page(noisy_runs: NoisyRuns, admlops: Admlops, tmp_path: Path) -> None:
    shown = admlops("report", noisy_runs.near.path, "--out", tmp_path / "page.html", "--figures", tmp_path / "figures")
    assert "figures: " in shown.stdout
    assert (tmp_path / "figures" / "latency.pdf").is_file()
