"""What a results file costs beside a run: `admlops evaluate FILE`, and then `admlops evaluate RUN` of the same boxes.

    python benchmarks/submissions.py [--samples N] [--boxes N] [--unknown-velocities] [--json]

The first command reads the file, writes the run folder and evaluates it; the second only evaluates. Times
are of the whole command; processor time counts every process. `--unknown-velocities` puts NaN into every box, which
takes the slow way through the file. `--samples 6000 --boxes 500` is the largest submission that nuScenes takes: 1.3 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the generators in tests/

from tests.evaluation import generated_boxes  # noqa: E402

from admlops.datasets.nuscenes.annotations import read_annotations  # noqa: E402
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth  # noqa: E402

UNKNOWN = '"velocity": [NaN, NaN]'


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command: wall and processor seconds, and the largest process's memory [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--boxes", type=int, default=300, help="boxes of each sample")
    parser.add_argument("--unknown-velocities", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        file = _write(place, options.samples, options.boxes, unknown=options.unknown_velocities)
        first = _measure(place, file, "--data", place / "data", "--split", "all", "--run", "submission")
        second = _measure(place, "submission")
        size_mb = file.stat().st_size / 1e6
    answer = {
        "size_mb": round(size_mb),
        "file": asdict(first),
        "run": asdict(second),
        "ratio": first.cpu_s / second.cpu_s,
    }
    if options.json:
        print(json.dumps(answer, indent=1))
    else:
        for name, cost in (("file", first), ("run", second)):
            print(f"evaluate {name:5} {cost.wall_s:7.1f} s  {cost.cpu_s:7.1f} s of processors  {cost.peak_mb:6.0f} MB")
        print(f"{size_mb:.0f} MB of JSON; a file costs {answer['ratio']:.2f} x a run, by processor time")
    return 0


def _write(folder: Path, samples: int, boxes: int, *, unknown: bool) -> Path:
    scenes = -(-samples // generated_boxes.SAMPLES_PER_SCENE)
    root = generated_boxes.write_tables(folder / "data", scenes=scenes, seed=3)
    tokens = generated_boxes.tokens_of(scenes)
    truth = make_ground_truth(read_annotations(root, generated_boxes.VERSION, tokens))
    file = folder / "results.json"
    generated_boxes.write_submission(file, generated_boxes.predict(truth, per_sample=boxes, seed=5), tokens)
    if unknown:
        file.write_text(re.sub(r'"velocity": \[[^\]]*\]', UNKNOWN, file.read_text()))
    return file


def _measure(folder: Path, *arguments: object) -> Cost:
    command = [sys.executable, "-m", "admlops", "evaluate", *map(str, arguments)]
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "ADMLOPS_REP_PATH": str(folder / "repository")}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu_s = used.ru_utime + used.ru_stime
    return Cost(wall_s=time.perf_counter() - begun, cpu_s=cpu_s, peak_mb=used.ru_maxrss / 1e3)


if __name__ == "__main__":
    sys.exit(main())
