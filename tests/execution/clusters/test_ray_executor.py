"""The Ray executor on a real cluster of three nodes: the records of the local one, whatever happens to a node."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.execution.clusters.nodes import RayCluster, RayNode, make_pod, ray_cluster, why_not
from tests.pipeline.pods import Pod

from admlops.execution.process_cleanup import find_processes
from admlops.results.run_folder import RunFolder, records_digest

pytestmark = [pytest.mark.full, pytest.mark.timeout(900), pytest.mark.skipif(bool(why_not()), reason=why_not())]

SCENES, SAMPLES = 8, 4
NOTICED_S = 15.0
"""A frozen node is given up within this time: three unanswered health checks, of Ray's own settings in the agent."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from admlops.synthetic import SynthesisOptions, synthesize

    root = tmp_path_factory.mktemp("data") / "nuscenes"
    synthesize(
        root, SynthesisOptions(scenes=SCENES, samples=SAMPLES, seed=7, scale=0.1, camera_sweeps=0, lidar_sweeps=0)
    )
    return root


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[RayCluster]:
    """A head without places and three nodes with a GPU each; every machine has paths of its own."""
    folder = tmp_path_factory.mktemp("pods")
    with ray_cluster(folder, make_pod(folder / "driver", data=data)) as made:
        for name in ("one", "two", "three"):
            made.add(name, make_pod(folder / name, data=data, gpus=1), gpus=1)
        made.write_state()
        yield made


def data_map(cluster: RayCluster) -> list[str]:
    names = [node for node in cluster.nodes.values() if node.name != "head"]
    return [word for node in names for word in ("--data-map", f"{node.name}={node.pod.folder / 'data'}")]


def words(cluster: RayCluster, model: str, name: str, *more: str) -> list[str]:
    chosen = ["run", model, "--data", str(cluster.driver.folder / "data"), "--split", "all", "--run", name, *more]
    return [*chosen, "--executor", "ray", *data_map(cluster)]


def local_run(cluster: RayCluster, model: str, name: str = "local") -> RunFolder:
    """The same run by the local executor, on GPUs of the same name; made once."""
    name = f"{name}-{model}"
    path = cluster.driver.folder / "repository" / "runs" / name
    if not path.exists():
        command = ["run", model, "--data", str(cluster.driver.folder / "data"), "--split", "all", "--run", name]
        done = cluster.type(*command, PRETENDED_GPUS="NVIDIA H200")
        assert done.returncode == 0, done.stderr
    return RunFolder.open(path)


def wait_for(
    condition: Callable[[], Any], *, process: subprocess.Popen[str] | None = None, patience_s: float = 240.0
) -> Any:
    """Wait for something to come, while the process that is to bring it runs."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return found


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    if not (run / "events.jsonl").exists():
        return []
    return [event for event in RunFolder.open(run).events() if event["event"] == kind]


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("model", ["Chain", "GroundPlane"])
def test_records_are_those_of_the_local_executor(cluster: RayCluster, model: str) -> None:
    done = cluster.type(*words(cluster, model, f"ray-{model}"))
    assert done.returncode == 0, done.stderr
    run = cluster.driver.run(f"ray-{model}")
    assert records_digest(run) == records_digest(local_run(cluster, model))
    assert {event["node"] for event in run.events() if event["event"] == "worker_started"} == {"one", "two", "three"}
    assert {event["device_name"] for event in run.events() if event["event"] == "worker_ready"} == {"cuda:0"}
    assert run.header.options["nodes"] == ["one", "three", "two"]
    assert not run.telemetry_path.exists(), "this machine's telemetry says nothing of a run elsewhere"
    assert any("device cuda:0" in path.read_text() for path in run.logs_path.glob("worker-*.log")) == (model == "Chain")


def test_a_node_that_is_killed_costs_no_record(cluster: RayCluster) -> None:
    lose(cluster, "two", RayNode.kill, "killed")


def test_a_node_that_freezes_is_given_up(cluster: RayCluster) -> None:
    frozen: list[int] = []
    began: list[float] = []

    def freeze(node: RayNode) -> None:
        began.append(time.time())
        frozen.extend(node.freeze())

    try:
        run = lose(cluster, "three", freeze, "frozen")
        noticed_s = events(run.path, "device_lost")[0]["t"] - began[0]
        print(f"a frozen node was noticed after {noticed_s:.1f} s")
        assert noticed_s < NOTICED_S
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    # When it thaws it finds itself given up, and ends with its actor and worker.
    wait_for(lambda: not [pid for pid in frozen if is_alive(pid)], patience_s=60)


def lose(cluster: RayCluster, name: str, do: Callable[[RayNode], None], run: str) -> RunFolder:
    """Run Chain slowly, do something to a node in the middle of its scene, and hold the records."""
    node = cluster.nodes[name]
    path = cluster.driver.folder / "repository" / "runs" / run
    process = cluster.begin(*words(cluster, "Chain", run, "--option", "pause=1"))
    wait_for(lambda: len(events(path, "worker_ready")) == 3 and events(path, "scene"), process=process)
    do(node)
    said = finished(process)
    if run == "killed":
        cluster.add(name, node.pod, gpus=1)
    lost = events(path, "device_lost")
    assert [event["node"] for event in lost] == [name], said
    there = RunFolder.open(path)
    assert len(events(path, "scene")) == SCENES, "each scene is accepted once"
    assert records_digest(there) == records_digest(local_run(cluster, "Chain"))
    marks = frozenset(event["mark"] for event in events(path, "worker_started"))
    if run == "killed":
        wait_for(lambda: not find_processes(marks), patience_s=30)
    return there


def test_a_killed_driver_leaves_nothing_and_its_run_goes_on(cluster: RayCluster) -> None:
    path = cluster.driver.folder / "repository" / "runs" / "orphan"
    process = cluster.begin(*words(cluster, "Chain", "orphan", "--option", "pause=1"))
    wait_for(lambda: events(path, "scene"), process=process)
    process.kill()
    process.wait()
    cleaned = cluster.type("cluster", "status", "--clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert ": up" in cleaned.stdout, "the cluster itself goes on"
    assert cluster.marked("worker") == []
    wait_for(lambda: not cluster.marked("actor"), patience_s=30)
    resumed = cluster.type(*words(cluster, "Chain", "orphan", "--option", "pause=1", "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert records_digest(RunFolder.open(path)) == records_digest(local_run(cluster, "Chain"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_node_that_differs_is_refused_by_name(cluster: RayCluster) -> None:
    """Other data, other code: said before a record is written, with the node's name."""
    node = cluster.nodes["one"].pod
    pictures = node.folder / "data" / "samples" / "CAM_FRONT"
    pictures.rename(pictures.with_name("aside"))
    refused = cluster.type(*words(cluster, "Chain", "no-data"))
    pictures.with_name("aside").rename(pictures)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert "node one: its data is not the driver's" in refused.stderr

    adapter = node.folder / "checkout" / "envs" / "Chain" / "demo.py"
    text = adapter.read_text()
    adapter.write_text(f"{text}\n# another\n")
    refused = cluster.type(*words(cluster, "Chain", "no-code"))
    adapter.write_text(text)
    assert refused.returncode == 2
    assert "node one: it has other code: its adapter is" in refused.stderr

    wrong = cluster.type(*words(cluster, "Chain", "no-node"), "--data-map", "four=/data")
    assert "'four', which is no node of the cluster" in wrong.stderr


def test_a_node_without_the_environment_takes_it_from_the_store(
    cluster: RayCluster, tmp_path: Path, data: Path
) -> None:
    pod = make_pod(tmp_path / "far" / "pod", data=data, gpus=1)
    store = tmp_path / "store"
    wanted = records_digest(local_run(cluster, "Chain"))  # which builds the driver's environment
    assert cluster.type("env", "push", "Chain", "--to", store).returncode == 0
    cluster.add("far", pod, gpus=1)
    done = cluster.type(*words(cluster, "Chain", "far", "--option", "pause=1"), ADMLOPS_PACK_STORE=str(store))
    assert done.returncode == 0, done.stderr
    run = cluster.driver.run("far")
    assert "far" in {event["node"] for event in run.events() if event["event"] == "worker_started"}
    assert (pod.folder.parent / "environments" / Path(run.header.environment.python).parents[1].name).is_dir()
    assert any("looking for" in path.read_text() for path in run.logs_path.glob("worker-*.log"))
    assert records_digest(run) == wanted


def test_without_a_head_everything_is_left_over(cluster: RayCluster) -> None:
    """Last: it ends the cluster."""
    for one in cluster.marked("gcs_server"):
        os.kill(one.pid, signal.SIGKILL)
    shown = cluster.type("cluster", "status")
    assert "its head does not run" in shown.stdout
    assert "left over" in shown.stdout
    would = cluster.type("cluster", "status", "--clean", "--dry-run")
    assert "would end raylet" in would.stdout
    assert cluster.marked() != []
    cleaned = cluster.type("cluster", "status", "--clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert cluster.marked() == []
    assert "no cluster was started from here" in cluster.type("cluster", "status").stdout


def test_pods_stand_alone(cluster: RayCluster) -> None:
    """No machine has another's paths: else the tests above would show nothing."""
    folders = [node.pod.folder for node in cluster.nodes.values() if isinstance(node.pod, Pod)]
    assert len(set(folders)) == len(folders)
