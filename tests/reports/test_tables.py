"""Tables for papers: what stands side by side, what is marked, and text that other programs read."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexMacroNode, LatexWalker
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns, write_noisy_run

from admlops.core.errors import RecordError, UsageError
from admlops.evaluation.evaluate import evaluate_run
from admlops.reports.table_text import FORMATS, escape_latex, to_csv, to_json, to_latex, to_markdown
from admlops.reports.tables import Source, Style, Table, make_tables, read_sources
from admlops.results.run_folder import RunFolder

DETECTION = "nuscenes.detection_cvpr_2019"
CHAMFER = "maptr.chamfer-60x30-0.5_1.0_1.5"


@pytest.fixture
def sources(noisy_runs: NoisyRuns) -> list[Source]:
    return read_sources([noisy_runs.near, noisy_runs.far])


def change(source: Source, **keys: Any) -> Source:
    """The same run with other keys in its metrics.json."""
    return replace(source, metrics={**source.metrics, **keys})


def of_protocol(tables: list[Table], protocol: str) -> Table:
    (found,) = (table for table in tables if table.protocol == protocol)
    return found


def test_runs_over_the_same_samples_share_a_table_and_the_best_is_marked(sources: list[Source]) -> None:
    table = of_protocol(make_tables(sources), DETECTION)
    assert [row.label for row in table.rows] == ["Near", "Far"]
    assert [column.heading for column in table.columns] == ["mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE"]
    near, far = (dict(zip((c.metric for c in table.columns), row.cells, strict=True)) for row in table.rows)
    assert near["mAP"].value is not None
    assert far["mAP"].value is not None
    assert near["mAP"].value > far["mAP"].value
    assert (near["mAP"].best, far["mAP"].best) == (True, False)
    assert near["mATE"].value is not None
    assert far["mATE"].value is not None
    assert near["mATE"].value < far["mATE"].value
    assert (near["mATE"].best, far["mATE"].best) == (True, False), "of an error, less is better"
    assert (near["mASE"].best, far["mASE"].best) == (False, False), "both are the same"
    assert "n = 9 samples" in table.caption
    assert "Best in bold" in table.caption


def test_values_are_those_of_metrics_json(sources: list[Source]) -> None:
    shown = json.loads(to_json(make_tables(sources)))
    for table in shown:
        for row, source in zip(table["rows"], sources, strict=True):
            stored = {
                one["name"]: one["value"] for one in source.metrics["metrics"] if one["protocol"] == table["protocol"]
            }
            values = {c["metric"]: cell["value"] for c, cell in zip(table["columns"], row["cells"], strict=True)}
            assert values == stored
            assert row["run"] == source.header.run


def test_runs_over_other_samples_get_a_table_of_their_own_that_says_n(
    noisy_runs: NoisyRuns, sources: list[Source], tmp_path: Path
) -> None:
    other = write_noisy_run(tmp_path / "part", noisy_runs.data, "Part", noise=0.1, scenes=1)
    evaluate_run(other, noisy_runs.data, layout=noisy_runs.layout, say=lambda _line: None)
    tables = [table for table in make_tables([*sources, *read_sources([other])]) if table.protocol == DETECTION]
    n = len(noisy_runs.data.scenes()[0].samples)
    assert [(table.n, [row.label for row in table.rows]) for table in tables] == [(9, ["Near", "Far"]), (n, ["Part"])]
    assert f"n = {n} samples" in tables[1].caption
    assert not any(cell.best for row in tables[1].rows for cell in row.cells), "alone, it beats nobody"
    by_class = [
        table for table in make_tables([*sources, *read_sources([other])], by="class") if table.protocol == DETECTION
    ]
    assert [table.n for table in by_class] == [9, n]


def test_random_weights_are_said_and_never_the_best(sources: list[Source]) -> None:
    near, far = sources
    settings = {**near.header.settings, "options": {"weights": "random:0"}}
    drawn = replace(near, header=msgspec.structs.replace(near.header, settings=settings))
    drawn = change(drawn, random_weights="random:0")
    table = of_protocol(make_tables([drawn, far]), DETECTION)
    assert not any(cell.best for cell in table.rows[0].cells)
    assert "Near ran with random weights" in table.caption


def test_failed_samples_are_said(sources: list[Source]) -> None:
    table = make_tables([change(sources[0], failed_samples=2), sources[1]])[0]
    assert "Near: 2 of 9 samples failed" in table.caption


def test_a_row_a_class_with_what_is_counted(sources: list[Source]) -> None:
    table = of_protocol(make_tables(sources[:1], by="class"), DETECTION)
    listed = sources[0].metrics["details"]["detection"]["classes"]
    assert {row.label: row.n for row in table.rows} == {name: one["ground_truth"] for name, one in listed.items()}
    assert [column.heading for column in table.columns] == ["AP", "ATE", "ASE", "AOE", "AVE", "AAE"]
    assert [column.higher_is_better for column in table.columns] == [True, *[False] * 5]
    assert table.rows[0].cells[0].value == next(iter(listed.values()))["mean_ap"]


def test_parts_of_several_runs_stand_under_the_main_metrics(sources: list[Source]) -> None:
    table = of_protocol(make_tables(sources, by="distance"), f"{DETECTION}.present-classes")
    assert [(column.group, column.heading) for column in table.columns] == [
        ("mAP", "Near"), ("mAP", "Far"), ("NDS", "Near"), ("NDS", "Far"),
    ]  # fmt: skip
    assert table.counted == "boxes"
    chosen = make_tables(sources, by="distance", style=Style(metrics=("recall",)))[0]
    assert [column.heading for column in chosen.columns] == ["Near", "Far"]


def test_two_runs_of_one_model_are_told_apart(noisy_runs: NoisyRuns, sources: list[Source], tmp_path: Path) -> None:
    shutil.copytree(noisy_runs.near.path, tmp_path / "again")
    again = RunFolder.open(tmp_path / "again")
    again.header = msgspec.structs.replace(again.header, run="again")
    labels = [source.label for source in read_sources([noisy_runs.near, again, noisy_runs.far])]
    assert labels == ["near", "again", "Far"]
    again.header = msgspec.structs.replace(again.header, variant="classic")
    assert [source.label for source in read_sources([noisy_runs.near, again])] == ["Near (modern)", "Near (classic)"]
    assert len(read_sources([noisy_runs.near, noisy_runs.near])) == 1


def test_latex_is_whole_and_every_row_has_as_many_cells(sources: list[Source]) -> None:
    for by in (None, "class", "distance", "scene"):
        text = to_latex(make_tables(sources, by=by, style=Style(percent=True)))
        nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
        floats = [node for node in nodes if isinstance(node, LatexEnvironmentNode)]
        assert [node.environmentname for node in floats] == ["table"] * len(floats)
        assert len(floats) == text.count(r"\begin{tabular}") > 0
        for one in floats:
            macros = [node.macroname for node in one.nodelist if isinstance(node, LatexMacroNode)]
            assert macros[:1] == ["centering"]
            assert {"caption", "label"} <= set(macros)
        for block in re.findall(r"\\begin\{tabular\}\{(l?r+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
            for line in block[1].splitlines():
                if line.rstrip().endswith("\\\\"):
                    spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
                    assert len(re.split(r"(?<!\\)&", line)) + spans == len(block[0])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs: texlive-latex-recommended")
def test_pdflatex_compiles_it_with_booktabs_alone(sources: list[Source], tmp_path: Path) -> None:
    odd = [replace(sources[0], label=r"A_b & 50% #1 {x} ~^\ <é> → 车"), sources[1]]
    tables = "\n".join(to_latex(make_tables(odd, by=by)) for by in (None, "class", "distance"))
    text = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{tables}\n\\end{{document}}\n"
    (tmp_path / "paper.tex").write_text(text)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_text_prints_in_latex_as_it_stands() -> None:
    assert escape_latex("a_b & 5% #1 $x$ {y}") == r"a\_b \& 5\% \#1 \$x\$ \{y\}"
    assert escape_latex("≤ 1 – 2 × 3") == r"$\leq$ 1 -- 2 $\times$ 3"
    assert escape_latex("é 车") == "é U+8F66"


def test_intervals_are_shown_and_the_caption_says_which(sources: list[Source]) -> None:
    metrics = [{**one, "interval": [0.1, 0.9]} for one in sources[0].metrics["metrics"]]
    tables = make_tables([change(sources[0], metrics=metrics)])
    assert "95 % interval over scenes" in tables[0].caption
    assert "(0.100 to 0.900)" in to_markdown(tables)
    assert r"{\footnotesize [0.100, 0.900]}" in to_latex(tables)
    percent = make_tables([change(sources[0], metrics=metrics)], style=Style(percent=True))
    assert "(10.0 to 90.0)" in to_markdown(percent)


def test_markdown_has_one_cell_a_column(sources: list[Source]) -> None:
    lines = [line for line in to_markdown(make_tables(sources, by="scene")).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]}) == 1
    assert any("**" in line for line in lines)


def test_csv_has_one_line_a_value_in_the_protocols_own_unit(sources: list[Source]) -> None:
    text = to_csv(make_tables(sources, by="class", style=Style(percent=True)))
    rows = list(csv.DictReader(io.StringIO(text)))
    car = next(row for row in rows if (row["run"], row["part"], row["metric"]) == ("far", "car", "AP"))
    assert float(car["value"]) == sources[1].metrics["details"]["detection"]["classes"]["car"]["mean_ap"]
    assert car["samples_sha256"] == sources[1].dataset


def test_what_cannot_be_shown_says_what_there_is(noisy_runs: NoisyRuns, sources: list[Source], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no mAPP to show; there are .*mAP, NDS"):
        make_tables(sources, style=Style(metrics=("mAPP",)))
    bare = change(sources[0], details={})
    with pytest.raises(UsageError, match="nothing is measured by distance"):
        make_tables([bare], by="distance")
    fresh = write_noisy_run(tmp_path / "fresh", noisy_runs.data, "Fresh", noise=0.1, scenes=1)
    with pytest.raises(RecordError, match="fresh is not evaluated"):
        read_sources([fresh])


def test_the_command_prints_and_writes(noisy_runs: NoisyRuns, admlops: Admlops, tmp_path: Path) -> None:
    runs = [noisy_runs.near.path, noisy_runs.far.path]
    out = tmp_path / "made" / "table.tex"
    assert admlops("results", "table", *runs, "--format", "latex", "--by", "class", "--out", out).stdout == ""
    assert r"\toprule" in out.read_text()
    assert set(FORMATS) == {"md", "latex", "csv", "json"}
    refused = admlops("results", "table", *runs, "--metric", "nothing", check=False)
    assert refused.returncode == 2
    assert "→" in refused.stderr
