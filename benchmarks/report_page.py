"""What a large report weighs and how fast it opens: by default 6 models on the same 200 samples.

    python benchmarks/report_page.py [--models N] [--scenes N] [--samples N] [--clutter N] [--keep DIR] [--json]

The runs are made of synthetic scenes and ground truth that is spoilt more from model to model; every record has 100
boxes that are near nothing. `write` is what `admlops report` does once the runs are read. `open` is from the start of
the navigation in Chromium (a fresh profile, the file on disk) to the end of the page's `load` event; scripts have run
by then; `open_cpu` is what the page's main thread computed meanwhile, which a busy machine does not change. `step` is
the time that drawing the next sample of all models takes. Each is the median of five.

Needs Chromium: install/browser.sh.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import sync_playwright
from tests.reports.generated_comparison import generate_comparison

from admlops.core.paths import find_layout
from admlops.reports import write_report

REPEATS = 5
STEP = """() => {
    const began = performance.now();
    document.querySelector('#explorer [name=next]').click();
    document.getElementById('stage').getBoundingClientRect();
    return performance.now() - began;
}"""
OPENED = "() => performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=5)
    parser.add_argument("--samples", type=int, default=40, help="of each scene")
    parser.add_argument("--clutter", type=int, default=100, help="boxes of a record that are near nothing")
    parser.add_argument("--keep", type=Path, help="keep the scenes and the page here, and use those that are there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, options)
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    return 0


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The page's size [MB] and times [s, ms]."""
    for model in folder.glob("*/run.json"):
        shutil.rmtree(model.parent)
    runs, data = generate_comparison(
        folder,
        find_layout(),
        models=options.models,
        scenes=options.scenes,
        samples=options.samples,
        clutter=options.clutter,
    )
    began = time.perf_counter()
    page = write_report(folder / "report.html", runs, {}, data=data)
    written = time.perf_counter() - began
    opened, computed, steps = time_page(page)
    return {
        "models": options.models,
        "samples": options.scenes * options.samples,
        "size_mb": round(page.stat().st_size / 1e6, 2),
        "write_s": round(written, 2),
        "open_s": round(statistics.median(opened), 2),
        "open_cpu_s": round(statistics.median(computed), 2),
        "step_ms": round(statistics.median(steps), 1),
    }


def time_page(page: Path) -> tuple[list[float], list[float], list[float]]:
    """The times to open the page, in all and on the main thread [s], and to draw the next sample [ms]."""
    opened, computed, steps = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(REPEATS):
            context = browser.new_context(viewport={"width": 1920, "height": 1080})
            tab = context.new_page()
            session = context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(page.resolve().as_uri())
            found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            computed.append(found["TaskDuration"])
            opened.append(tab.evaluate(OPENED) / 1e3)
            steps.append(statistics.median(tab.evaluate(STEP) for _ in range(REPEATS)))
            context.close()
        browser.close()
    return opened, computed, steps


if __name__ == "__main__":
    sys.exit(main())
