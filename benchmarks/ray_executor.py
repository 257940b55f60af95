"""What Ray costs a run: the same scenes by the local executor and by a Ray node on this machine, in turn.

    python benchmarks/ray_executor.py [--scenes N] [--samples N] [--pause-ms MS] [--boxes N] [--rounds N] [--json]

Both sides run the same adapter in one worker, whose network takes `--pause-ms` a sample, and write the same records. A
round is one run of each; which comes first changes from round to round. A scene's time is from the first worker being
ready to the last scene being on disk, by scenes: starts are left out, for a run pays them once. The median over rounds
counts. Needs the extra `admlops[ray]`.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import HERE, Tokens, _header  # a file beside this one
from instant_adapter import Instant

from admlops.core.processes import process_environment
from admlops.execution.cluster.agent import ANSWER
from admlops.execution.cluster.marks import end_marked
from admlops.execution.cluster.state import forget, make_token, token_path
from admlops.execution.coordinator import execute
from admlops.execution.executor import Executor, ExecutorOptions
from admlops.execution.executors import EXECUTORS
from admlops.execution.scene_job import Job, SampleRef, SceneJob
from admlops.execution.worker import WorkerCommand
from admlops.results.run_folder import RunFolder, records_digest

BAR_MS, BAR_SHARE = 20.0, 0.02
SIDES = ("local", "ray")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--samples", type=int, default=40, help="of each scene")
    parser.add_argument("--pause-ms", type=float, default=30.0, help="what the network takes a sample")
    parser.add_argument("--boxes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    digests = set()
    with _ray_node() as address:
        for number in range(options.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                scene_ms, digest = measure(side, address, options)
                times[side].append(scene_ms)
                digests.add(digest)
    assert len(digests) == 1, "the two sides wrote other records"
    local, ray = (statistics.median(times[side]) for side in SIDES)
    model_ms = options.samples * options.pause_ms
    result = {
        "scenes": options.scenes,
        "samples": options.samples,
        "pause_ms": options.pause_ms,
        "rounds": options.rounds,
        "local_ms_a_scene": local,
        "ray_ms_a_scene": ray,
        "overhead_ms_a_scene": ray - local,
        "ratio": ray / local,
        "overhead_share_of_the_network": (ray - local) / model_ms if model_ms else None,
        "bar_ms": BAR_MS,
        "bar_share": BAR_SHARE,
        "all": times,
    }
    print(json.dumps(result) if options.json else _table(result))
    return 0


def measure(side: str, address: str, options: argparse.Namespace) -> tuple[float, str]:
    """Return the milliseconds a scene of one run, and the digest of its records."""
    scenes = _scenes(options.scenes, options.samples)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder) / "run", _header(scenes))
        job = Job(
            run=run,
            model=Instant.name,
            variant="plain",
            command=WorkerCommand(
                python=Path(sys.executable).absolute(),
                adapter=HERE / "instant_adapter.py",
                cwd=HERE,
                variables=process_environment({}),
            ),
            settings={"options": {"boxes": options.boxes, "pause_s": options.pause_ms / 1000}},
            scenes=scenes,
            samples=Tokens(),
        )
        executor: Executor = EXECUTORS.get(side)(ExecutorOptions(devices="cpu", address=address))
        with run.lock():
            summary = execute(job, executor=executor, on_event=lambda _event: None)
        assert summary.state == "complete", summary
        began = next(event["t"] for event in run.events() if event["event"] == "worker_ready")
        ended = max(event["t"] for event in run.events() if event["event"] == "scene")
        return (ended - began) * 1000 / len(scenes), records_digest(run)


@contextmanager
def _ray_node() -> Iterator[str]:
    """A Ray head of one node on this machine, for as long as the block lasts."""
    cluster, token = secrets.token_hex(4), make_token()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        own = str(probe.getsockname()[0])
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = int(probe.getsockname()[1])
    facts = {"cluster": cluster, "token": token, "index": 0, "port": port, "address": own, "name": "here"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "admlops.execution.cluster.agent", "start"],
            input=json.dumps({**facts, "gpus": 0, "cpus": 1, "variables": {}}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith(ANSWER))
        assert "error" not in json.loads(line.removeprefix(ANSWER)), line
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path(cluster))})
        yield f"{own}:{port}"
    finally:
        end_marked([cluster])
        forget(cluster)


def _scenes(scenes: int, samples: int) -> list[SceneJob]:
    return [
        SceneJob(
            name=f"scene-{number:04d}",
            samples=tuple(SampleRef(f"{number:016x}{place:016x}", place) for place in range(samples)),
        )
        for number in range(scenes)
    ]


def _table(result: dict[str, Any]) -> str:
    share = result["overhead_share_of_the_network"]
    rows = [
        ("scenes, samples each", f"{result['scenes']}, {result['samples']}"),
        ("the network", f"{result['pause_ms']:g} ms a sample"),
        ("local executor", f"{result['local_ms_a_scene']:.1f} ms a scene"),
        ("Ray executor", f"{result['ray_ms_a_scene']:.1f} ms a scene"),
        ("Ray adds", f"{result['overhead_ms_a_scene']:.1f} ms a scene (bar: {result['bar_ms']:g})"),
        ("of the network's time", "-" if share is None else f"{share:.2%} (bar: {result['bar_share']:.0%})"),
        ("Ray ÷ local", f"{result['ratio']:.4f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
