"""What reading ahead is worth: six real-sized pictures a sample beside a network that takes 66 ms.

    python benchmarks/prefetch.py --python PATH [--samples N] [--pause-ms MS] [--processes N] [--pictures DIR] [--json]

Each line is a real run through worker, frames, validation and records: the network alone (nothing is read), samples
read in turn, and read ahead, with their rates beside the network's own. PATH is an interpreter with numpy and OpenCV,
such as a model environment's. Pictures are made, 1600x900 with the detail of photographs, unless a folder of JPEGs is
given. Then `decoders.py` runs on the same pictures.

Reading ahead cannot be faster than the cores that other programs leave it: `reading takes` by the number of processes
must be below the network's time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from admlops.core.processes import process_environment
from admlops.execution.coordinator import execute
from admlops.execution.executor import ExecutorOptions
from admlops.execution.executors.local import LocalExecutor
from admlops.execution.scene_job import Job, SampleRef, SceneJob
from admlops.execution.worker import WorkerCommand
from admlops.health.crowding import read_crowding
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder

HERE = Path(__file__).resolve().parent
CAMERAS = 6
ROUNDS = 3


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--pause-ms", type=float, default=66.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pictures", type=Path, help="a folder of JPEGs to read in place of made ones")
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with numpy and OpenCV")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = options.pictures or make_pictures(Path(folder) / "pictures")
        result = {
            "cores": os.cpu_count(),
            "programs_per_core": round(read_crowding(), 1),
            **measure_rates(Path(folder), pictures, options),
            "decoders": measure_decoders(pictures, options.python),
        }
    print(json.dumps(result) if options.json else _table(result))
    return 0


def make_pictures(folder: Path) -> Path:
    """Write six JPEGs of 1600x900 whose detail costs a decoder what photographs do: 150 to 200 kB each."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(CAMERAS):
        coarse = Image.fromarray(draw.integers(0, 256, (90, 160, 3), dtype=np.uint8)).resize((1600, 900))
        fine = draw.normal(0, 9, (900, 1600, 1))
        pixels = np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=70)
    return folder


def measure_rates(folder: Path, pictures: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Samples a second of the network alone, in turn and ahead, each the best of some rounds taken by turns."""
    kinds: Mapping[str, tuple[bool, int]] = {
        "network_alone": (False, 0),
        "in_turn": (True, 0),
        "ahead": (True, options.processes),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    reading_s: list[float] = []
    for number in range(ROUNDS):
        for kind, (reads, processes) in kinds.items():
            settings = {"pause_s": options.pause_ms / 1e3, "pictures": str(pictures), "reads": reads}
            run, rate = run_once(folder / f"{kind}-{number}", settings, processes, options)
            rates[kind].append(rate)
            if kind == "in_turn":
                meta = [record.metadata for record in run.records()]
                reading_s += [one.end_to_end_time - one.inference_time for one in meta if one.inference_time]  # type: ignore[operator]
    best = {f"{kind}_per_s": max(measured) for kind, measured in rates.items()}
    alone = best["network_alone_per_s"]
    return {
        "reading_ms": 1e3 * statistics.median(reading_s),
        **best,
        "in_turn_share": best["in_turn_per_s"] / alone,
        "ahead_share": best["ahead_per_s"] / alone,
    }


def run_once(
    path: Path, settings: Mapping[str, Any], processes: int, options: argparse.Namespace
) -> tuple[RunFolder, float]:
    """Run one scene; its folder, and the samples a second from the second sample's answer to the last one's."""
    tokens = tuple(SampleRef(f"s-{number}", number) for number in range(options.samples))
    run = RunFolder.create(path, make_header({"s": options.samples}))
    job = Job(
        run=run,
        model="Pausing",
        variant="none",
        command=WorkerCommand(
            python=options.python,
            adapter=HERE / "reading_adapter.py",
            cwd=HERE,
            variables=process_environment({"OMP_NUM_THREADS": "1"}),
        ),
        settings={"options": dict(settings), "prefetch": processes},
        scenes=[SceneJob(name="s", samples=tokens)],
        samples=PlainSamples(),
        grace_s=2.0,
    )
    times: list[float] = []

    def watch(event: Any) -> None:
        if event.kind == "sample":
            times.append(time.perf_counter())

    with run.lock():
        execute(job, executor=LocalExecutor(ExecutorOptions(devices="cpu")), on_event=watch)
    return run, (len(times) - 2) / (times[-1] - times[1])


class PlainSamples:
    """Samples that say no more than which they are."""

    def read(self, token: str) -> Mapping[str, Any]:
        return {"sample_token": token, "scene": "s", "index_in_scene": int(token.rpartition("-")[2])}


def make_header(scenes: Mapping[str, int]) -> RunHeader:
    """The header of a run that is thrown away."""
    return RunHeader(
        run="prefetch",
        model="Pausing",
        variant="none",
        environment=EnvironmentInfo(name="none", digest="0", backend="none", python=sys.version.split()[0]),
        data=DataInfo(root="/none", version="none", split=None, samples_sha256="0", synthetic=True),
        provenance=Provenance(commit=None, admlops="0", host="benchmark"),
        scenes=dict(scenes),
        settings={"device": "cpu"},
        created="2026-01-01T00:00:00Z",
    )


def measure_decoders(pictures: Path, python: Path) -> Any:
    """What `decoders.py` finds in an interpreter."""
    done = subprocess.run([python, HERE / "decoders.py", pictures], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _table(result: Mapping[str, Any]) -> str:
    lines = [f"{result['cores']} cores, {result['programs_per_core']} programs want each"]
    lines.append(f"reading takes {result['reading_ms']:.0f} ms a sample in turn")
    for kind in ("network_alone", "in_turn", "ahead"):
        rate = result[f"{kind}_per_s"]
        lines.append(f"{kind:<14} {rate:6.2f} samples/s  {rate / result['network_alone_per_s']:.2f} x")
    for name, found in result["decoders"].items():
        equal = ", ".join(found["equal_to"]) or "none"
        lines.append(f"{name:<28} {found['ms']:6.2f} ms a picture; pixels equal to: {equal}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
