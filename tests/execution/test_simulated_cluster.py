"""64 nodes of 8 cards in simulated time, with faults: no scene is lost or done twice, and little time."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.execution.execution_bench import PATIENT, PlainSamples, make_header, make_scenes
from tests.execution.simulated_cluster import (
    DRIVER_AWAY_S,
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


@dataclass(repr=False)
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
    folder: Path, *, seed: int, faults: Faults, scenes: int, nodes: int = NODES, bounded: bool = True
) -> Outcome:
    """Run to the end, resumed whenever the driver is lost. Nodes that never come back leave no bound."""
    shape = make_shape(seed, scenes, fewest=2, most=8)
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
                world.now += DRIVER_AWAY_S
    work_s, longest_s = work_of(shape, seconds_of)
    return Outcome(
        world, RunFolder.open(run.path), summary, world.now, world.bound_s(work_s, longest_s) if bounded else 0.0
    )


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


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is simulated, and no power is cut here."""
    monkeypatch.setattr("admlops.results.scene_writer.os.fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    "seed", [1, pytest.param(16, marks=pytest.mark.full), pytest.param(26, marks=pytest.mark.full)]
)
def test_faults_cost_no_scene_and_little_time(tmp_path: Path, seed: int) -> None:
    """Seeds 15, 16 and 26 are those in which the second attempt at a slow scene met a slow machine too."""
    outcome = simulate(tmp_path, seed=seed, faults=ALL, scenes=1024)
    check_whole(outcome)
    assert {"lost", "slow", "joined"} <= set(outcome.world.happened)
    assert outcome.share < 1.1, (outcome.makespan_s, outcome.bound_s, outcome.world.happened)


def test_a_lost_driver_costs_no_scene_and_little_time(tmp_path: Path) -> None:
    outcome = simulate(tmp_path, seed=3, faults=replace(ALL, driver_lost_s=(40.0,)), scenes=256, nodes=16)
    check_whole(outcome)
    assert outcome.world.happened["driver lost"] == 1
    assert outcome.share < 1.1, (outcome.makespan_s, outcome.bound_s, outcome.world.happened)


def test_late_answers_of_a_node_that_was_given_up_count_for_nothing(tmp_path: Path) -> None:
    """Nodes freeze for longer than they are waited for, and then say all that they had to say."""
    outcome = simulate(tmp_path, seed=7, faults=Faults(frozen=150.0, frozen_s=15.0), scenes=256, nodes=16)
    check_whole(outcome)
    assert outcome.world.late_answers > 0
    assert outcome.share < 1.1, (outcome.makespan_s, outcome.bound_s, outcome.world.happened)


def test_healthy_nodes_do_nothing_in_vain(tmp_path: Path) -> None:
    outcome = simulate(tmp_path, seed=7, faults=Faults(), scenes=256, nodes=16)
    check_whole(outcome)
    assert outcome.share < 1.0
    assert [event for event in outcome.run.events() if event["event"] in ("failure", "device_lost")] == []


def test_a_run_whose_nodes_are_all_lost_waits_and_fails(tmp_path: Path) -> None:
    outcome = simulate(tmp_path, seed=8, faults=Faults(lost=20.0, away_s=1e9), scenes=64, nodes=2, bounded=False)
    assert (outcome.summary.state, outcome.run.header.state) == ("failed", "failed")
    assert outcome.summary.remaining > 0
    assert outcome.summary.stopped_by is not None
    assert outcome.summary.stopped_by.message.endswith("and none joined within 600 s")


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_faulty_clusters(tmp_path: Path, seed: int) -> None:
    """Four times the work, twice the faults, and the driver lost once or twice."""
    faults = Faults(lost=1250.0, frozen=2000.0, slow=750.0, driver_lost_s=(70.0, 300.0)[: 1 + seed % 2])
    outcome = simulate(tmp_path, seed=seed, faults=faults, scenes=4096)
    check_whole(outcome)
    assert outcome.share < 1.1, (outcome.makespan_s, outcome.bound_s, outcome.world.happened)
