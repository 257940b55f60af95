"""Makes the README's pictures from a comparison that the tool wrote: `docs/make_images.py RUN REPORT.html`.

    .venv/bin/python docs/make_images.py GroundPlane-… admlops_repository/comparisons/…/report.html

Needs Chromium (install/browser.sh) for the page.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.reports import draw_sample, view_sample
from admlops.results.runs import find_run

IMAGES = Path(__file__).parent / "images"
PAGE_SIZE = {"width": 1440, "height": 1000}
WIDTH = 1000


def draw_report(page_path: Path) -> None:
    """The page's summary and its walk through the samples, one below the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=PAGE_SIZE, color_scheme="light")  # type: ignore[arg-type]
        page.goto(page_path.resolve().as_uri())
        shots = [page.locator(name).screenshot() for name in ("#summary", "#explorer")]
        browser.close()
    summary, walk = (Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots)
    sheet = Image.new("RGB", (max(summary.width, walk.width), summary.height + walk.height + 12), "white")
    sheet.paste(summary, (0, 0))
    sheet.paste(walk, ((summary.width - walk.width) // 2, summary.height + 12))
    _save(sheet, "report.png")


def draw_birds_eye_view(run_name: str) -> None:
    """The sample of the first scene with the fewest errors: six cameras and a bird's-eye view."""
    run = find_run(find_layout(), run_name)
    data = NuScenes(Path(run.header.data.root), run.header.data.version)
    metrics = json.loads(run.metrics_path.read_text())
    scene = next(iter(run.header.scenes))
    candidates = [entry for entry in metrics["worst"] if entry["scene"] == scene]
    best = min(candidates, key=lambda entry: entry["cost"])["sample_token"]
    record = next(record for record in run.records() if record.metadata.sample_token == best)
    picture = draw_sample(view_sample(record, data, cutoffs=metrics["operating_points"]))
    _save(Image.open(io.BytesIO(picture)).convert("RGB"), "birds-eye-view.png")


def _save(image: Image.Image, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    height = round(image.height * WIDTH / image.width)
    small = image.resize((WIDTH, height), Image.Resampling.LANCZOS).quantize(256)
    small.save(IMAGES / name, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("report", type=Path)
    options = parser.parse_args()
    draw_report(options.report)
    draw_birds_eye_view(options.run)


if __name__ == "__main__":
    main()
