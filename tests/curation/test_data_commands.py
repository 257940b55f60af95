"""`data stats` and `data tag` as typed: tables, JSON, pages, two sets, pictures, and what is wrong."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from tests import fabricated_nuscenes as fabricated
from tests.curation.plain_reference import Reference
from tests.datasets.images.fabricate import TRUTH, draw, write, write_kitti, write_yolo

from admlops.cli.main import cli
from admlops.core.errors import UsageError


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, words)])


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return fabricated.write_tables(folder / "a", seed=1), fabricated.write_tables(folder / "b", seed=2, objects=50)


def test_two_sets_are_compared(roots: tuple[Path, Path]) -> None:
    shown = typed("stats", roots[0], "--against", roots[1], "--json")
    assert shown.exit_code == 0, shown.output
    found = {one["quantity"]: one for one in json.loads(shown.stdout)["differences"]}
    references = [Reference(root / "v1.0-mini") for root in roots]
    names = sorted({one.class_of(row) for one in references for row in one.annotations.values()})
    shares = []
    for one in references:
        counts = [sum(one.class_of(row) == name for row in one.annotations.values()) for name in names]
        shares.append([count / sum(counts) for count in counts])
    assert found["class"]["value"] == pytest.approx(jensenshannon(*shares, base=2))
    assert found["class"]["n"] == [len(one.annotations) for one in references]
    speeds = [[speed for speed, _ in one.driving().values() if speed is not None] for one in references]
    assert found["speed"]["value"] == pytest.approx(wasserstein_distance(*speeds), abs=1e-9)
    assert found["speed"]["unit"] == "m/s"
    assert found["boxes a sample"]["distance"] == "Wasserstein"
    same = json.loads(typed("stats", roots[0], "--against", roots[0], "--json").stdout)["differences"]
    assert all(one["value"] == pytest.approx(0) for one in same)


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("img", "script", "link", "iframe", "source"):
            self.loaded += [value for key in ("src", "href") if (value := named.get(key))]


def test_the_page_loads_nothing_and_says_what_is_there(roots: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "stats.html"
    shown = typed("stats", roots[0], "--against", roots[1], "--html", page)
    assert shown.exit_code == 0, shown.output
    assert f"written to {page}" in shown.stdout
    text = page.read_text()
    links = Links()
    links.feed(text)
    assert all(one.startswith("data:") for one in links.loaded)
    assert text.count("<svg") >= 8
    assert "Jensen-Shannon" in text
    assert "traffic cone" in text
    again = typed("stats", roots[0], "--against", roots[1], "--html", "-")
    assert again.stdout == text, "the same numbers give the same page"


def test_a_condition_chooses_samples(roots: tuple[Path, Path]) -> None:
    shown = json.loads(typed("stats", roots[0], "--where", "scene = 'scene-0103'", "--json").stdout)
    assert (shown["scenes"], shown["samples"]) == (1, 5)
    assert shown["where"] == "scene = 'scene-0103'"
    nothing = typed("stats", roots[0], "--where", "speed > 900")
    assert isinstance(nothing.exception, UsageError)
    assert "holds for no sample" in nothing.exception.message


def test_counts_by_two_axes(roots: tuple[Path, Path]) -> None:
    shown = typed("stats", roots[0], "--by", "class", "--by", "visibility", "--format", "csv")
    assert shown.exit_code == 0, shown.output
    head, *rows = [line.split(",") for line in shown.stdout.strip().splitlines()]
    assert head == ["class", "0-40 %", "40-60 %", "60-80 %", "80-100 %"]
    reference = Reference(roots[0] / "v1.0-mini")
    cells = reference.cells()
    for name, *counts in rows:
        wanted = [sum(n for (own, _, level), n in cells.items() if (own, level) == (name, one)) for one in head[1:]]
        assert [int(count) for count in counts] == wanted


def test_tags_are_written_where_asked(roots: tuple[Path, Path], tmp_path: Path) -> None:
    rules, out = tmp_path / "mine.toml", tmp_path / "tags.json"
    rules.write_text("[first]\nabout = 'The first two samples.'\nwhere = 'index_in_scene < 2'\n")
    before = sorted(path.stat().st_mtime_ns for path in roots[0].rglob("*"))
    planned = typed("tag", roots[0], "--rules", rules, "--out", out, "--dry-run")
    assert "would write" in planned.output
    assert not out.exists()
    shown = typed("tag", roots[0], "--rules", rules, "--out", out)
    assert shown.exit_code == 0, shown.output
    assert before == sorted(path.stat().st_mtime_ns for path in roots[0].rglob("*"))
    written = json.loads(out.read_text())
    assert written["tags"]["first"]["samples"] == 4
    assert written["tags"]["first"]["tokens"] == [
        f"{scene}-sample-{index}" for scene in fabricated.SCENES for index in range(2)
    ]
    assert "no light" in written["tags"]["night"]["reason"]
    assert "scene.json" in shown.stdout


def test_a_wrong_rule_ends_with_2(roots: tuple[Path, Path], tmp_path: Path, admlops: object) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text("[first]\nwhere = 'index_in_scen < 2'\n")
    done = admlops("data", "tag", str(roots[0]), "--rules", str(rules), check=False)  # type: ignore[operator]
    assert done.returncode == 2
    assert f"{rules}: rule first: there is no column 'index_in_scen'" in done.stderr
    assert "did you mean index_in_scene" in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_are_shown() -> None:
    shown = typed("tag", "--columns")
    assert shown.exit_code == 0
    assert "yaw_rate" in shown.stdout
    assert {one["name"] for one in json.loads(typed("tag", "--columns", "--json").stdout)} >= {"speed", "light"}


def test_pictures_are_chosen_compared_and_tagged_by_what_they_have(tmp_path: Path) -> None:
    write_yolo(tmp_path / "yolo")
    draw(tmp_path / "yolo" / "images" / "val" / "large.png", size=(300, 200), seed=9)
    write(tmp_path / "yolo" / "labels" / "val" / "large.txt", "1 0.5 0.5 0.9 0.9")
    write_kitti(tmp_path / "kitti", {"a.png": TRUTH["street 1/a.jpg"], "b.png": []})
    chosen = json.loads(typed("stats", tmp_path / "yolo", "--where", "boxes = 2 or width_px > 200", "--json").stdout)
    assert (chosen["samples"], chosen["sizes"]) == (2, {"64x48": 1, "300x200": 1})
    assert {name: own["objects"] for name, own in chosen["classes"].items()} == {"car": 1, "truck": 2}
    assert "single pictures are no drive" in chosen["lacking"].values()
    both = json.loads(typed("stats", tmp_path / "yolo", "--against", tmp_path / "kitti", "--json").stdout)
    found = {one["quantity"]: one for one in both["differences"]}
    # Two cars and two trucks against one of each: equal shares.
    assert found["class"]["value"] == pytest.approx(0)
    assert found["class"]["n"] == [4, 2]
    assert found["size of pictures"]["value"] == pytest.approx(jensenshannon([3 / 4, 1 / 4], [1, 0], base=2))
    tags = json.loads(typed("tag", tmp_path / "kitti", "--json").stdout)["tags"]
    assert tags["sparse"]["samples"] == 2
    assert tags["night"]["reason"] == "no light: data of the kind images do not have it"
    lacking = typed("stats", tmp_path / "kitti", "--where", "speed < 5")
    assert isinstance(lacking.exception, UsageError)
    assert "has no speed: data of the kind images do not have it" in lacking.exception.message
    assert isinstance(typed("stats", tmp_path / "kitti", "--by", "class").exception, UsageError)


def test_sets_of_two_kinds_have_no_measure_in_common(roots: tuple[Path, Path], tmp_path: Path) -> None:
    write_yolo(tmp_path)
    shown = typed("stats", roots[0], "--against", tmp_path)
    assert isinstance(shown.exception, UsageError)
    assert "no measure in common" in shown.exception.message
