"""The LiDAR view in a real browser, drawn by its software renderer: it shows things, and every control changes it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Playwright, sync_playwright
from playwright.sync_api import Page as Tab
from tests.reports.browser import NAMES, find_violations
from tests.reports.fabricate import make_run
from tests.reports.lidar_scene import make_lidar_data

from admlops.reports import write_report

pytestmark = [pytest.mark.browser, pytest.mark.full]
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHOUT_WEBGL = ("--disable-gpu", "--disable-3d-apis")
BACKGROUND = (0x0F, 0x13, 0x18)
COLOURS = {
    "truth": (0x35, 0xE0, 0xA5),
    "miss": (0xFF, 0x8A, 0x3D),
    "prediction": (0x63, 0xC3, 0xFF),
    "false_alarm": (0xFF, 0x86, 0xDA),
}
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@contextmanager
def launch(playwright: Playwright, *args: str) -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs one of {', '.join(NAMES)} on PATH: run install/browser.sh")
    browser = playwright.chromium.launch(executable_path=found, args=["--headless", "--no-sandbox", *args])
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder / "report.html", [make_run()], None, data=make_lidar_data(folder / "data"))


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with launch(playwright, *SOFTWARE) as launched:
        yield launched


@pytest.fixture(scope="module")
def opened(browser: Browser, report: Path) -> Iterator[tuple[Tab, list[str]]]:
    """The page with its view drawn, and everything that went wrong or over the network."""
    tab, trouble = browser.new_page(viewport={"width": 720, "height": 500}), list[str]()
    tab.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    tab.on("request", lambda asked: trouble.extend([] if asked.url.startswith(("file:", "data:")) else [asked.url]))
    tab.goto(report.as_uri())
    tab.locator("#lidar").scroll_into_view_if_needed()
    yield tab, trouble
    tab.close()


@pytest.fixture
def tab(opened: tuple[Tab, list[str]]) -> Iterator[Tab]:
    """The page with the picture in the middle, and after the test the view as it was."""
    tab, _ = opened
    tab.locator(".lidar-stage").evaluate("stage => stage.scrollIntoView({block: 'center', behavior: 'instant'})")
    yield tab
    part(tab, "scene").select_option(index=0)
    for name in ("truth", "prediction", "lines"):
        part(tab, name).check()
    part(tab, "colour").select_option("height")
    if part(tab, "reset").is_enabled():
        part(tab, "reset").click()
    part(tab, "behind").click()


def part(tab: Tab, name: str) -> Locator:
    return tab.locator(f'[data-part="{name}"]')


def look(tab: Tab) -> Pixels:
    """What the picture shows, (height, width, 3)."""
    tab.evaluate(DRAWN)
    shot = tab.locator(".lidar-stage").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int16)


def differ(before: Pixels, after: Pixels) -> bool:
    """Tell whether one in two hundred pixels is another."""
    return bool((np.abs(before - after).max(axis=-1) > 12).mean() > 0.005)


def count(pixels: Pixels, colour: tuple[int, int, int], *, within: int = 30) -> int:
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) < within).sum())


def test_points_and_every_kind_of_box_are_drawn_without_trouble(opened: tuple[Tab, list[str]]) -> None:
    tab, trouble = opened
    pixels = look(tab)
    assert part(tab, "fallback").is_hidden()
    assert tab.locator("#lidar-view").get_attribute("data-state") == "drawn"
    assert 0.02 < 1 - count(pixels, BACKGROUND, within=6) / pixels[..., 0].size < 0.9
    assert {name for name, colour in COLOURS.items() if count(pixels, colour) < 30} == set()
    assert "16,920 of 16,920 points; boxes: 4 true, 3 predicted" in part(tab, "status").inner_text()
    assert trouble == []


def test_layers_can_be_hidden_one_by_one(tab: Tab) -> None:
    part(tab, "truth").uncheck()
    pixels = look(tab)
    assert (count(pixels, COLOURS["truth"]), count(pixels, COLOURS["miss"])) == (0, 0)
    assert count(pixels, COLOURS["prediction"]) > 30
    part(tab, "prediction").uncheck()
    assert [count(look(tab), colour) for colour in COLOURS.values()] == [0, 0, 0, 0]
    part(tab, "prediction").check()
    part(tab, "lines").uncheck()
    without_lines = count(look(tab), COLOURS["prediction"])
    part(tab, "lines").check()
    assert 0 < without_lines < count(look(tab), COLOURS["prediction"])


def test_the_least_confidence_decides_which_predictions_are_drawn(tab: Tab) -> None:
    part(tab, "least").focus()
    part(tab, "least").fill("0.8")
    assert "boxes: 4 true, 1 predicted" in part(tab, "status").inner_text()
    assert "predictions from 0.80 on" in part(tab, "status").inner_text()
    assert count(look(tab), COLOURS["false_alarm"]) == 0
    tab.evaluate("document.dispatchEvent(new CustomEvent('admlops:confidence', {detail: 0.05}))")
    assert part(tab, "least").input_value() == "0.05"
    assert "boxes: 4 true, 4 predicted" in part(tab, "status").inner_text()
    follow = "detail => document.dispatchEvent(new CustomEvent('admlops:sample', {detail}))"
    tab.evaluate(follow, {"sample": {"token": "token-001"}, "cut": 0.7})
    assert part(tab, "scene").input_value() == "scene-0103, key frame 1"
    assert "boxes: 4 true, 2 predicted" in part(tab, "status").inner_text()
    tab.evaluate(follow, {"sample": {"token": "one that is not shown"}, "cut": 0.7})
    assert part(tab, "scene").input_value() == "scene-0103, key frame 1"
    part(tab, "reset").click()
    assert "3 predicted" in part(tab, "status").inner_text()
    assert part(tab, "reset").is_disabled()


def test_viewpoints_colours_and_samples_can_be_chosen(tab: Tab) -> None:
    behind = look(tab)
    part(tab, "top").click()
    top = look(tab)
    part(tab, "side").click()
    side = look(tab)
    assert [differ(a, b) for a, b in ((behind, top), (top, side), (behind, side))] == [True] * 3
    part(tab, "top").click()
    part(tab, "colour").select_option("intensity")
    assert differ(look(tab), top)
    assert part(tab, "high").inner_text() == "60"
    part(tab, "next").click()
    assert part(tab, "scene").input_value() == "scene-0103, key frame 1"
    assert part(tab, "next").is_disabled()
    tab.locator("#sample-0 summary").click()
    tab.locator("#sample-0 .lidar-open").click()
    assert part(tab, "scene").input_value() == "scene-0103, key frame 0"


def test_forward_is_up_from_above_and_left_is_left(tab: Tab) -> None:
    """The only pedestrian is missed, 9 m ahead and 6.5 m to the right; the only cone is ahead and to the left."""
    part(tab, "top").click()
    part(tab, "lines").uncheck()
    pixels = look(tab)
    middle = np.array(pixels.shape[:2]) / 2
    cone = np.argwhere(np.abs(pixels - np.array(COLOURS["false_alarm"])).max(axis=-1) < 30).mean(axis=0) - middle
    assert cone[0] < 0
    assert cone[1] < 0
    assert cone[0] / cone[1] == pytest.approx(7 / 3, rel=0.15)


def test_the_keyboard_and_the_mouse_turn_move_and_zoom(tab: Tab) -> None:
    canvas = part(tab, "canvas")
    canvas.focus()
    before = look(tab)
    for keys in (("ArrowLeft",), ("ArrowUp",), ("Shift+ArrowRight",), ("+", "+"), ("2",), ("1",)):
        for key in keys:
            tab.keyboard.press(key)
        after = look(tab)
        assert differ(before, after), keys
        before = after
    box = canvas.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 300, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 380, box["y"] + 220, steps=3)
    tab.mouse.up()
    dragged = look(tab)
    assert differ(before, dragged)
    scrolled = "window.scrollY"
    place = tab.evaluate(scrolled)
    tab.mouse.wheel(0, -240)
    assert differ(dragged, look(tab))
    assert tab.evaluate(scrolled) == place, "a chosen picture takes the wheel"


def test_pointing_at_a_box_names_it(tab: Tab) -> None:
    part(tab, "top").click()
    box = part(tab, "canvas").bounding_box()
    assert box is not None
    # Half the height is tan(25°) · 82 m: the cone is 7 m ahead and 3 m to the left.
    metre = box["height"] / 2 / (np.tan(0.436) * 82)
    part(tab, "canvas").hover(position={"x": box["width"] / 2 - 3 * metre, "y": box["height"] / 2 - 7 * metre})
    part(tab, "hover").wait_for()
    assert part(tab, "hover").inner_text() == "traffic_cone 0.44, prediction, false alarm"


def test_a_phone_has_room_for_it(browser: Browser, report: Path) -> None:
    tab = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")
    tab.goto(report.as_uri())
    tab.locator("#lidar").scroll_into_view_if_needed()
    assert tab.evaluate(FITS)
    assert count(look(tab), COLOURS["prediction"]) > 10
    section = tab.locator("#lidar").bounding_box()
    assert section is not None
    for element in tab.locator("#lidar select, #lidar input, #lidar button, #lidar output").all():
        place = element.bounding_box()
        assert place is not None
        assert section["x"] <= place["x"] <= place["x"] + place["width"] <= section["x"] + section["width"]
    tab.close()


def test_without_webgl_the_section_says_so(playwright: Playwright, report: Path) -> None:
    with launch(playwright, *WITHOUT_WEBGL) as browser:
        tab, trouble = browser.new_page(), list[str]()
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.goto(report.as_uri())
        assert "gives no WebGL 2" in part(tab, "fallback").inner_text()
        assert part(tab, "fallback").is_visible()
        assert part(tab, "viewer").is_hidden()
        assert tab.locator("h2").all_inner_texts()[-1] == "Provenance"
        assert trouble == []


def test_without_scripts_the_section_says_so(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert part(tab, "fallback").is_visible()
    assert "here no script runs" in part(tab, "fallback").inner_text()
    assert part(tab, "viewer").is_hidden()
    assert tab.locator("svg.bird-eye").count() == 2
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_anyone_can_use_it(browser: Browser, report: Path, scheme: Literal["light", "dark"]) -> None:
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(report.as_uri())
    assert part(tab, "viewer").is_visible()
    assert find_violations(tab) == []
    tab.close()


def test_it_follows_the_walk_through_the_samples(tab: Tab) -> None:
    tab.locator("#explorer [name=next]").click()
    assert part(tab, "scene").input_value() == "scene-0103, key frame 1"
    tab.locator("#explorer [name=points]").uncheck()
    tab.locator("#explorer [name=cut]").fill("0.8")
    assert "predictions from 0.80 on" in part(tab, "status").inner_text()
    tab.locator("#explorer [name=points]").check()
    tab.locator("#explorer [name=previous]").click()
    assert part(tab, "scene").input_value() == "scene-0103, key frame 0"
    assert "each class's operating point" in part(tab, "status").inner_text()
