"""How fast evaluation is, and how equal: our code and the official one on the same generated data, in one run.

    python benchmarks/evaluation.py [--samples N] [--only detection,maps] [--official-samples N] [--no-official]
                                    [--folder DIR] [--whole-command] [--json]

At the default size, that of nuScenes' validation set, our side runs on everything. Where the official side would take
hours it runs on the first samples and its time is scaled: its cost is the same for every sample. The column `official
on` says which; numbers are compared on the samples that both sides saw. `load` is how many programs wanted a processor
when each side began; the ratio of processor times does not depend on it. Each family runs in a process of its own, so
that `peak` is the memory of that family and its data. `--samples 400` shows the ratios in a minute.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # benchmarks/ and the generators in tests/

from benchmarks.evaluation_row import Row  # noqa: E402

SAMPLES = 6019
FAMILIES = ("detection", "maps", "lanes", "planning")
"""Each is `benchmarks/evaluation_<family>.py` with `run(samples, folder, *, official, official_samples)`."""

COLUMNS = (
    "metric",
    "ours [s]",
    "official [s]",
    "ratio",
    "CPU ratio",
    "official on",
    "difference",
    "peak",
    "official peak",
    "load",
)

Measure = Callable[..., Iterable[Row]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", default=",".join(FAMILIES), help="families, separated by commas")
    parser.add_argument("--official-samples", type=int, help="how many samples the official side runs on")
    parser.add_argument("--no-official", action="store_true", help="measure our side alone")
    parser.add_argument("--folder", type=Path, help="where generated data is kept, for another run")
    parser.add_argument(
        "--whole-command",
        action="store_true",
        help="measure `admlops evaluate` itself, from files to numbers, on boxes, map elements and lane graphs",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    families = ["command"] if options.whole_command else options.only.split(",")
    rows = [row for family in families for row in (_apart if len(families) > 1 else _measure)(family, options)]
    if options.json:
        machine = {"python": platform.python_version(), "samples": options.samples}
        print(json.dumps({**machine, "rows": rows}, indent=1))
    else:
        print(_table(rows))
    return 0


def _measure(family: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / f"{family}-{options.samples}"
        folder.mkdir(parents=True, exist_ok=True)
        measure = cast("Measure", importlib.import_module(f"evaluation_{family}").run)
        rows = measure(
            options.samples, folder, official=not options.no_official, official_samples=options.official_samples
        )
        return [_told({**asdict(row), "ratio": row.ratio, "cpu_ratio": row.cpu_ratio}) for row in rows]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """The row, said as soon as it is measured: the official side of a full-size run takes half an hour."""
    print(_table([row]), file=sys.stderr, flush=True)
    return row


def _apart(family: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of a family, measured in a process of its own."""
    command = [sys.executable, __file__, "--only", family, "--samples", str(options.samples), "--json"]
    command += ["--no-official"] if options.no_official else []
    command += ["--folder", str(options.folder)] if options.folder else []
    command += ["--official-samples", str(options.official_samples)] if options.official_samples else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [COLUMNS]
    for row in rows:
        ours, theirs = row["ours"], row["official"]
        load = f"{ours['load']:.1f}" if theirs is None else f"{ours['load']:.1f} / {theirs['load']:.1f}"
        lines.append(
            (
                row["name"],
                f"{ours['wall_s']:.2f}",
                "" if theirs is None else f"{theirs['wall_s']:.1f}",
                "" if row["ratio"] is None else f"{row['ratio']:.0f} x",
                "" if row["cpu_ratio"] is None else f"{row['cpu_ratio']:.0f} x",
                row["measured"],
                "" if row["max_abs_difference"] is None else f"{row['max_abs_difference']:.1e}",
                *("" if row[key] is None else f"{row[key]:.0f} MB" for key in ("peak_mb", "official_peak_mb")),
                load,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", *(f"{row['name']}: {row['note']}" for row in rows if row["note"])])


if __name__ == "__main__":
    sys.exit(main())
