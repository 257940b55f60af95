"""How fast evaluation is, and how equal: our code and the official one on the same generated data, in one run.

    python benchmarks/evaluation.py [--samples N] [--only detection,maps] [--no-official] [--folder DIR] [--json]

At the default size, that of nuScenes' validation set, the official sides take minutes to hours; `--samples 400` shows
the ratios in a minute. Data goes to `--folder`, or to a temporary folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # benchmarks/ and the generators in tests/

from benchmarks.evaluation_row import Row  # noqa: E402

SAMPLES = 6019
FAMILIES = ("detection", "maps", "lanes", "planning")
"""Each is `benchmarks/evaluation_<family>.py` with `run(samples, folder, *, official) -> list[Row]`."""

Measure = Callable[..., list[Row]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", default=",".join(_families()), help="families, separated by commas")
    parser.add_argument("--no-official", action="store_true", help="measure our side alone")
    parser.add_argument("--folder", type=Path, help="where generated data is kept, for another run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for family in options.only.split(","):
            folder = (options.folder or Path(temporary)) / f"{family}-{options.samples}"
            folder.mkdir(parents=True, exist_ok=True)
            measure = cast("Measure", importlib.import_module(f"evaluation_{family}").run)
            rows += measure(options.samples, folder, official=not options.no_official)
    if options.json:
        machine = {"python": platform.python_version(), "samples": options.samples}
        print(json.dumps({**machine, "rows": [{**asdict(row), "ratio": row.ratio} for row in rows]}, indent=1))
    else:
        print(_table(rows))
    return 0


def _families() -> list[str]:
    return [name for name in FAMILIES if (HERE / f"evaluation_{name}.py").is_file()]


def _table(rows: Sequence[Row]) -> str:
    lines = [("metric", "ours [s]", "official [s]", "ratio", "difference", "note")]
    for row in rows:
        official = "" if row.official_s is None else f"{row.official_s:.1f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.0f} x"
        difference = "" if row.max_abs_difference is None else f"{row.max_abs_difference:.1e}"
        lines.append((row.name, f"{row.ours_s:.2f}", official, ratio, difference, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
