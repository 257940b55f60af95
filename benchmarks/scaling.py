"""What the driver of a cluster can carry: the real coordinator and run folder under workers that take no time.

    python benchmarks/scaling.py [--nodes 1,4,16,64] [--samples 40] [--boxes 50] [--folder DIR] [--picture SVG] [--json]

Each node has eight slots, and each slot two scenes to do. Workers answer at once, so all that is measured is the
driver's: taking events, checking and writing records and events.jsonl (processor time), and putting each scene onto the
disk (the median time of that). Both sides are measured in one go, with the run folder on the disk of `--folder` and in
memory (/dev/shm): what differs is the store's. A driver that needs so many milliseconds for a scene keeps
`scene time / that` cards busy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from instant_adapter import make_boxes  # a file beside this one

from admlops.execution.cancel import CancelToken
from admlops.execution.coordinator import execute
from admlops.execution.executor import (
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    Slot,
    WorkerEvent,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.messages import Hello, Ready, Result, decode_message
from admlops.execution.scene_job import Job, SampleRef, SceneJob, WorkerSpec
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import ComputeDevice
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder
from admlops.results.scene_writer import SceneWriter
from admlops.worker.wire import RESULT, Frame

CARDS = 8
TOKEN = "the sample's token"
SCENE_TIMES_S = (4.0, 20.0, 100.0)
"""Scenes of 40 samples at 0.1, 0.5 and 2.5 s a sample."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run: what the driver needs for a scene [ms], in all and of it for putting it onto the store.

    The rest are what it does of each in a second when it does nothing else.
    """

    nodes: int
    store: str
    scene_ms: float
    commit_ms: float
    scenes_per_s: float
    records_per_s: float
    events_per_s: float


class InstantCluster:
    """An executor whose workers answer as soon as they are asked, slot by slot in turn."""

    def __init__(self, nodes: int, answer: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._answer = json.dumps({"sample_token": TOKEN, **answer}).encode()
        self._events: deque[WorkerEvent] = deque()
        self._at_work: deque[tuple[int, deque[str]]] = deque()
        self.taken = 0

    def slots(self) -> Sequence[Slot]:
        """Eight slots a node."""
        return [
            Slot(
                number=number,
                device=ComputeDevice(id=f"cuda:{number % CARDS}", kind="cuda", name="a card"),
                node=f"node-{number // CARDS}",
            )
            for number in range(self._nodes * CARDS)
        ]

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        """Nothing is to prepare."""

    def start_worker(self, slot: int, *, shrink: int) -> None:
        """Say that the model is loaded."""
        hello = Hello(protocol=1, model="Instant", python="3", adapter="-", libraries={}, digest="0")
        self._events.append(WorkerStarted(slot=slot, pid=1, mark=f"{slot}"))
        self._events.append(WorkerReady(slot=slot, hello=hello, ready=Ready(fixes=[], device_name="a card")))

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        """Put the scene in line."""
        self._at_work.append((slot, deque(str(one["sample_token"]) for one in request.samples)))

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        """Say that it has ended."""
        self._events.append(WorkerStopped(slot=slot, pid=1, mark=f"{slot}", exit_code=0, left=[]))

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        """Return what the next slot in turn answers."""
        self.taken += 1
        if self._events:
            return self._events.popleft()
        if not self._at_work:
            return None
        slot, tokens = self._at_work.popleft()
        if not tokens:
            return SceneAnswered(slot=slot)
        frame = self._answer.replace(TOKEN.encode(), tokens.popleft().encode(), 1)
        self._at_work.append((slot, tokens))
        result = decode_message(Frame(RESULT, frame))  # as a host does with what a worker writes
        assert isinstance(result, Result), "no result"
        return SampleAnswered(slot=slot, answer=result)

    def close(self) -> Sequence[WorkerEvent]:
        """Nothing goes on."""
        return ()


class Samples:
    """Samples that say no more than which they are."""

    def read(self, token: str) -> Mapping[str, Any]:
        """Return the sample."""
        return {"sample_token": token}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", default="1,4,16,64", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--scenes", type=int, default=128, help="so many at least; two for each slot")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=1, help="the run that took the median time is taken")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the run's disk")
    parser.add_argument("--picture", type=Path, help="draw the curve into this SVG file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    stores = {"disk": options.folder, "memory": Path("/dev/shm")}
    measured = []
    for nodes in options.nodes:
        runs: dict[str, list[Measured]] = {store: [] for store in stores}
        for _ in range(options.repeats):
            for store, folder in stores.items():
                runs[store].append(measure(folder, store, nodes, options))
        measured += [sorted(one, key=lambda run: run.scene_ms)[len(one) // 2] for one in runs.values()]
    if options.json:
        print(json.dumps([asdict(one) for one in measured]))
    else:
        print(_table(measured))
    if options.picture:
        options.picture.write_text(draw(measured))
    return 0


def measure(folder: Path, store: str, nodes: int, options: argparse.Namespace) -> Measured:
    """Run all scenes once in a fresh folder."""
    scenes = max(options.scenes, 2 * CARDS * nodes)
    shape = {f"s{number}": options.samples for number in range(scenes)}
    answer = {
        "inference_time": 0.1,
        "end_to_end_time": 0.1,
        "gpu_memory_used": 1000.0,
        "outputs": {"detections_3d": make_boxes(options.boxes)},
    }
    executor = InstantCluster(nodes, answer)
    where = Path(tempfile.mkdtemp(dir=folder))
    try:
        run = RunFolder.create(where / "run", _header(shape))
        job = Job(
            run=run,
            model="Instant",
            variant="plain",
            command=WorkerCommand(python=Path(sys.executable), adapter=where, cwd=where, variables={}),
            settings={},
            scenes=[
                SceneJob(name=name, samples=tuple(SampleRef(f"{name}-{index}", index) for index in range(count)))
                for name, count in shape.items()
            ],
            samples=Samples(),
        )
        with run.lock(), timed_commits() as commits:
            processor = time.process_time()
            summary = execute(job, executor=executor, on_event=lambda _: None)
            processor_s = time.process_time() - processor
    finally:
        shutil.rmtree(where)
    assert (summary.state, summary.ok) == ("complete", scenes * options.samples), "not all was written"
    commit_s = statistics.median(commits)
    seconds = processor_s + scenes * commit_s
    return Measured(
        nodes=nodes,
        store=store,
        scene_ms=1e3 * seconds / scenes,
        commit_ms=1e3 * commit_s,
        scenes_per_s=scenes / seconds,
        records_per_s=summary.ok / seconds,
        events_per_s=executor.taken / seconds,
    )


@contextmanager
def timed_commits() -> Iterator[list[float]]:
    """Give the times that putting each scene onto the store takes while the block runs [s]."""
    times: list[float] = []
    commit = SceneWriter.commit

    def timed(self: SceneWriter) -> None:
        began = time.perf_counter()
        commit(self)
        times.append(time.perf_counter() - began)

    SceneWriter.commit = timed  # type: ignore[method-assign]
    try:
        yield times
    finally:
        SceneWriter.commit = commit  # type: ignore[method-assign]


def _header(shape: Mapping[str, int]) -> RunHeader:
    return RunHeader(
        run="run",
        model="Instant",
        variant="plain",
        environment=EnvironmentInfo(name="none", digest="0", backend="none", python="3"),
        data=DataInfo(root="/none", version="none", split=None, samples_sha256="0", synthetic=True),
        provenance=Provenance(commit=None, admlops="0", host="benchmark"),
        scenes=dict(shape),
        settings={"device": "cuda:0"},
        created="2026-01-01T00:00:00Z",
    )


def _table(measured: Sequence[Measured]) -> str:
    carried = "".join(f"{f'cards at {seconds:g} s':>16}" for seconds in SCENE_TIMES_S)
    lines = [f"{'nodes':>5} {'store':<7}{'ms a scene':>11}{'store ms':>9}{'scenes/s':>10}{'records/s':>11}{carried}"]
    for one in measured:
        cards = "".join(f"{int(1e3 * seconds / one.scene_ms):>16}" for seconds in SCENE_TIMES_S)
        lines.append(
            f"{one.nodes:>5} {one.store:<7}{one.scene_ms:>11.1f}{one.commit_ms:>9.1f}{one.scenes_per_s:>10.0f}"
            f"{one.records_per_s:>11.0f}{cards}"
        )
    return "\n".join(lines)


def draw(measured: Sequence[Measured]) -> str:
    """Return an SVG picture: milliseconds a scene against nodes, for each store."""
    import io

    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "scaling", "font.size": 10})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    nodes = sorted({one.nodes for one in measured})
    for store, label in (("disk", "run folder on the disk"), ("memory", "run folder in memory")):
        found = {one.nodes: one for one in measured if one.store == store}
        axes.plot(nodes, [found[count].scene_ms for count in nodes], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(nodes, [str(count) for count in nodes])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"nodes, {CARDS} cards each")
    axes.set_ylabel("driver's time a scene [ms]")
    axes.grid(alpha=0.3)
    axes.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
