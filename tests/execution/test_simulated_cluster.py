"""64 nodes of 8 cards in simulated time, with faults: no scene is lost or done twice, and little time."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.execution.execution_bench import PATIENT, PlainSamples, make_header, make_scenes
from tests.execution.simulated_cluster import (
    DriverLost,
    Faults,
    SimulatedCluster,
    World,
    make_shape,
    sample_seconds,
    work_of,
)

from admlops.execution.coordinator import execute
from admlops.execution.scene_job import Job, Summary
from admlops.execution.worker import WorkerCommand
from admlops.results.run_folder import RunFolder

NODES, CARDS = 64, 8
ALL = Faults(lost=2500.0, frozen=4000.0, slow=1500.0)


@dataclass
class Outcome:
    world: World
    run: RunFolder
    summary: Summary
    makespan_s: float
    bound_s: float

    @property
    def share(self) -> float:
        return self.makespan_s / self.bound_s


def simulate(
    folder: Path, *, seed: int, faults: Faults, scenes: int, nodes: int = NODES, fewest: int = 2, most: int = 8
) -> Outcome:
    """Run to the end, resumed whenever the driver is lost."""
    shape = make_shape(seed, scenes, fewest=fewest, most=most)
    seconds_of = sample_seconds(3.0)
    world = World(nodes=nodes, cards=CARDS, seed=seed, faults=faults, load_s=20.0, seconds_of=seconds_of)
    run = RunFolder.create(folder / "run", make_header(shape))
    for _ in itertools.count():
        job = Job(
            run=RunFolder.open(run.path),
            model="StandIn",
            variant="plain",
            command=WorkerCommand(python=Path(sys.executable), adapter=folder, cwd=folder, variables={}),
            settings={},
            scenes=make_scenes(shape),
            samples=PlainSamples(),
            deadlines=PATIENT,
        )
        with run.lock():
            try:
                summary = execute(
                    job, executor=SimulatedCluster(world), on_event=lambda _: None, clock=lambda: world.now
                )
                break
            except DriverLost:
                world.now += 120.0  # until somebody starts it again
    work_s, longest_s = work_of(shape, seconds_of)
    return Outcome(world, RunFolder.open(run.path), summary, world.now, world.bound_s(work_s, longest_s))


def check_whole(outcome: Outcome) -> None:
    """Every sample is there once, in order; a scene's records are of one attempt; no scene was accepted twice."""
    assert outcome.summary.state == "complete"
    assert (outcome.summary.failed, outcome.summary.remaining) == (0, 0)
    for scene, count in outcome.run.header.scenes.items():
        records = [one.metadata for one in outcome.run.records_of(scene)]
        assert [one.sample_token for one in records] == [f"{scene}-{index}" for index in range(count)]
        assert len({one.gpu_memory_used for one in records}) == 1
    accepted = Counter(event["scene"] for event in outcome.run.events() if event["event"] == "scene")
    assert set(accepted.values()) == {1}
    assert len(accepted) == len(outcome.run.header.scenes)
    assert [path.name for path in outcome.run.records_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("seed", [1, 2])
def test_faults_cost_no_scene_and_little_time(tmp_path: Path, seed: int) -> None:
    outcome = simulate(tmp_path, seed=seed, faults=ALL, scenes=1024)
    check_whole(outcome)
    assert {"lost", "frozen", "slow", "joined"} <= set(outcome.world.happened)
    assert outcome.share < 1.1, (outcome.makespan_s, outcome.bound_s, outcome.world.happened)
