"""What the harness costs: an adapter that answers instantly with 300 boxes, through everything a real run goes through.

    python benchmarks/harness.py [--samples N] [--boxes N] [--python PATH] [--json]

`harness` is a real run: worker process, frames, validation, records and events on disk, from handing over the first
scene to the last one committed (the worker's start is printed apart: a run pays it once). `bare loop` is the same
adapter in a plain loop in this process, without processes, JSON or files. `with JSON` adds the worker's encoding, which
no design with a process boundary and text records can avoid.

A worker and its host thread work side by side, so the harness is as fast as the slower of the two where both have a
core to themselves. On a busy machine look at the processor times: they say what each of them needs for a sample.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from instant_adapter import Instant, make_boxes  # a file beside this one

from admlops.core.processes import process_environment
from admlops.execution.coordinator import execute
from admlops.execution.executor import ExecutorOptions
from admlops.execution.executors.local import LocalExecutor
from admlops.execution.scene_job import Job, SampleRef, SceneJob
from admlops.execution.worker import WorkerCommand
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder
from worker.measure import Step, encode_result, run_sample

SCENE_SAMPLES = 40
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--boxes", type=int, default=300)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the worker's interpreter")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = {
        "boxes": options.boxes,
        "samples": options.samples,
        "host_python": platform.python_version(),
        **measure_harness(options.python, options.samples, options.boxes),
        "bare_loop_per_s": measure_loop(options.samples, options.boxes, encode=False),
        "with_json_per_s": measure_loop(options.samples, options.boxes, encode=True),
    }
    result["harness_share_of_json_loop"] = result["harness_per_s"] / result["with_json_per_s"]
    result["harness_share_of_bare_loop"] = result["harness_per_s"] / result["bare_loop_per_s"]
    print(json.dumps(result) if options.json else _table(result))
    return 0


def measure_harness(python: Path, samples: int, boxes: int) -> dict[str, Any]:
    """Samples per second of one worker in a real run, and the seconds it took to start."""
    scenes = _scenes(samples)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder) / "run", _header(scenes))
        command = WorkerCommand(
            python=python.absolute(),
            adapter=HERE / "instant_adapter.py",
            cwd=Path(folder),
            variables=process_environment({}),
        )
        job = Job(
            run=run,
            model=Instant.name,
            variant="plain",
            command=command,
            settings={"options": {"boxes": boxes}},
            scenes=scenes,
            samples=Tokens(),
        )
        before = (_processor_s(resource.RUSAGE_SELF), _processor_s(resource.RUSAGE_CHILDREN))
        with run.lock():
            executor = LocalExecutor(ExecutorOptions(devices="cpu"))
            summary = execute(job, executor=executor, on_event=lambda _event: None)
        after = (_processor_s(resource.RUSAGE_SELF), _processor_s(resource.RUSAGE_CHILDREN))
        times = {event["event"]: event["t"] for event in run.events()}
        size_bytes = sum(path.stat().st_size for path in run.records_path.iterdir())
        python_version = next(event["python"] for event in run.events() if event["event"] == "worker_ready")
    assert summary.state == "complete"
    assert summary.ok == samples
    return {
        "worker_python": python_version,
        "start_s": times["worker_ready"] - times["worker_started"],
        "record_kb": size_bytes / samples / 1000,
        "harness_per_s": samples / (times["scene"] - times["worker_ready"]),
        "host_processor_ms": (after[0] - before[0]) / samples * 1000,
        "worker_processor_ms": (after[1] - before[1]) / samples * 1000,
    }


def measure_loop(samples: int, boxes: int, *, encode: bool) -> float:
    """Samples per second of the same adapter in a plain loop, with or without making JSON of each result."""
    adapter = Instant()
    adapter.answer = make_boxes(boxes)
    step = Step()
    began = time.perf_counter()
    for scene in _scenes(samples):
        for sample in scene.samples:
            result = run_sample(adapter, {"sample_token": sample.token}, step)
            if encode:
                encode_result(result)
    return samples / (time.perf_counter() - began)


def _processor_s(who: int) -> float:
    """Processor seconds of this process, or of its children that have ended."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


class Tokens:
    """Samples that are tokens alone."""

    def read(self, token: str) -> dict[str, Any]:
        return {"sample_token": token}


def _scenes(samples: int) -> list[SceneJob]:
    groups = [range(start, min(start + SCENE_SAMPLES, samples)) for start in range(0, samples, SCENE_SAMPLES)]
    return [
        SceneJob(
            name=f"scene-{number:04d}",
            samples=tuple(SampleRef(f"{index:032x}", place) for place, index in enumerate(group)),
        )
        for number, group in enumerate(groups)
    ]


def _header(scenes: list[SceneJob]) -> RunHeader:
    return RunHeader(
        run="benchmark",
        model=Instant.name,
        variant="plain",
        environment=EnvironmentInfo(name="none", digest="none", backend="none", python=platform.python_version()),
        data=DataInfo(root="none", version="none", split=None, samples_sha256="none", synthetic=True),
        provenance=Provenance(commit=None, admlops="0", host=platform.node()),
        scenes={scene.name: len(scene.samples) for scene in scenes},
        settings={},
        created="",
    )


def _table(result: dict[str, Any]) -> str:
    rows = [
        ("boxes per sample", f"{result['boxes']}"),
        ("samples", f"{result['samples']}"),
        ("size of a record", f"{result['record_kb']:.1f} kB"),
        ("Python: host, worker", f"{result['host_python']}, {result['worker_python']}"),
        ("worker's start", f"{result['start_s']:.2f} s"),
        ("harness, one worker", f"{result['harness_per_s']:.0f} samples/s"),
        ("processor time: host", f"{result['host_processor_ms']:.2f} ms a sample"),
        ("processor time: worker", f"{result['worker_processor_ms']:.2f} ms a sample, its start included"),
        ("bare loop", f"{result['bare_loop_per_s']:.0f} samples/s"),
        ("bare loop with JSON", f"{result['with_json_per_s']:.0f} samples/s"),
        ("harness ÷ bare loop", f"{result['harness_share_of_bare_loop']:.4f}"),
        ("harness ÷ loop with JSON", f"{result['harness_share_of_json_loop']:.2f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
