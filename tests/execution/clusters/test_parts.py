"""The parts of clusters that need no Ray: what travels, paths, places, host files, marks, states, refusals."""

from __future__ import annotations

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.typed import Typed

from admlops.core.errors import EnvError, MissingExtraError, StorageError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.execution.batches import Batch
from admlops.execution.cluster import lifecycle
from admlops.execution.cluster.connection import LOCK, Node
from admlops.execution.cluster.hosts import Host, read_hosts
from admlops.execution.cluster.marks import ACTOR_VARIABLE, CLUSTER_VARIABLE, end_marked, find_marked, own_actor_mark
from admlops.execution.cluster.state import ClusterState, find_state, read_states, token_path, write_state, write_token
from admlops.execution.executor import (
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    SlotBroken,
    WorkerEvent,
    WorkerFailed,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.executors.ray.codec import (
    decode_happened,
    decode_scene,
    encode_happened,
    encode_scene,
    unpack_events,
)
from admlops.execution.executors.ray.places import choose_places, gpu_share
from admlops.execution.executors.ray.portable import check_files, describe_files, make_local, make_portable
from admlops.execution.failures import WorkerError, WorkerFailure
from admlops.execution.messages import Failed, Hello, Ready, Result
from admlops.pipeline.data_map import read_data_map
from admlops.results.record import Outputs
from admlops.worker.wire import ProtocolError

HELLO = Hello(protocol=1, model="M", python="3.11", adapter="a", libraries={"numpy": "2"}, digest="d")
EVENTS: list[WorkerEvent] = [
    WorkerStarted(slot=3, pid=7, mark="m"),
    WorkerReady(slot=3, hello=HELLO, ready=Ready(fixes=["f"], device_name="H200")),
    SampleAnswered(
        slot=3,
        answer=Result(
            sample_token="t", inference_time=0.1 + 0.2, end_to_end_time=1 / 3, gpu_memory_used=None, outputs=Outputs()
        ),
    ),
    SampleAnswered(slot=3, answer=Failed(sample_token="t", kind="data", message="no", traceback="")),
    WorkerFailed(slot=3, failure=WorkerFailure(kind="hang", message="slow", detail="log", starting=True, batch=4)),
    WorkerStopped(slot=3, pid=7, mark="m", exit_code=-9, left=[1, 2]),
    SceneAnswered(slot=3),
]


def test_events_arrive_as_they_were_sent() -> None:
    content = encode_happened(EVENTS, log="é\n", ended=False)
    happened = decode_happened(content)
    found = unpack_events(happened, slot=3, node="one")
    assert found == EVENTS
    assert (happened.log, happened.ended) == ("é\n", False)
    assert msgspec.json.decode(content), "it is JSON"


def test_an_answer_is_validated_where_it_arrives() -> None:
    content = encode_happened([EVENTS[2]], log="", ended=False).replace(b'"inference_time":0', b'"inference_time":-0')
    with pytest.raises(ProtocolError, match="inference_time"):
        unpack_events(decode_happened(content), slot=0, node="one")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StorageError("full", hint="df"), StorageError),
        (MissingExtraError("it", "ray", ImportError(name="ray")), UsageError),
        (WorkerError(WorkerFailure(kind="crash", message="x")), RuntimeError),
    ],
)
def test_an_error_names_its_node(error: Exception, kind: type[Exception]) -> None:
    content = encode_happened([SlotBroken(slot=0, error=error)], log="", ended=True)
    found = unpack_events(decode_happened(content), slot=1, node="n")
    assert isinstance(found[0], SlotBroken)
    assert type(found[0].error) is kind
    assert str(found[0].error).startswith("node n: ")


def test_a_scene_arrives_with_what_the_node_must_have() -> None:
    request = SceneRequest(scene="s", samples=[{"sample_token": "t"}], batch=Batch(most=4, auto=True))
    assert decode_scene(encode_scene(request, {"a.jpg": 3})) == (request, {"a.jpg": 3})


def layout(folder: Path) -> Layout:
    return Layout(root=folder, repository=folder / "repository", environments=folder / "local" / "environments")


def test_paths_mean_the_same_on_every_machine(tmp_path: Path) -> None:
    here, there = layout(tmp_path / "here"), layout(tmp_path / "there")
    (tmp_path / "disk").mkdir()
    here.repository.mkdir(parents=True)
    here.data.symlink_to(tmp_path / "disk")
    spec = {
        "python": str(here.environments / "M-1" / "bin" / "python"),
        "data": str(tmp_path / "disk" / "nuscenes"),
        "more": [str(here.root / "envs" / "M"), str(here.repository / "runs"), "/elsewhere/x", "{checkout", 3, None],
    }
    portable = make_portable(spec, here)
    assert str(tmp_path / "here") not in str(portable)
    assert portable["data"] == "{data}/nuscenes", "behind a link, too"
    local = make_local(portable, there)
    assert local["python"] == str(there.environments / "M-1" / "bin" / "python")
    assert local["data"] == str(there.data / "nuscenes")
    assert local["more"] == [str(there.root / "envs" / "M"), str(there.repository / "runs"), *spec["more"][2:]]


def test_a_file_of_another_content_is_refused(tmp_path: Path) -> None:
    here, there = layout(tmp_path / "here"), layout(tmp_path / "there")
    for one in (here, there):
        (one.repository).mkdir(parents=True)
        (one.repository / "w.pth").write_text("weights")
    files = describe_files({"checkpoint": str(here.repository / "w.pth"), "other": "/none"}, here)
    assert list(files) == ["{repository}/w.pth"]
    check_files(files, there)
    (there.repository / "w.pth").write_text("others")
    with pytest.raises(UsageError, match=r"there/repository/w\.pth is not the file"):
        check_files(files, there)
    (there.repository / "w.pth").unlink()
    with pytest.raises(UsageError, match="is not there"):
        check_files(files, there)


def machine(*names: str) -> dict[str, object]:
    devices = [
        {"index": index, "name": name, "memory_mb": 1.0, "uuid": f"GPU-{name}-{index}"}
        for index, name in enumerate(names)
    ]
    return {"cpu": "a CPU", "gpus": {"devices": devices, "problem": None, "lost": []}}


def node(name: str, *, cpus: int = 8, gpus: int = 0) -> Node:
    return Node(id=name, name=name, address="10.0.0.1", cpus=cpus, gpus=gpus)


def test_places_are_gpus_of_one_model_or_cpus() -> None:
    nodes = [
        (node("head", cpus=0), machine()),
        (node("a", gpus=2), machine("A40", "A40")),
        (node("b", gpus=1), machine("H200")),
    ]

    def chosen(devices: str, workers: int = 1) -> list[tuple[str, str]]:
        found = choose_places(nodes, devices=devices, workers=workers)
        return [(place.node.name, place.device.id) for place in found]

    assert chosen("auto", 2) == [("a", "cuda:0"), ("a", "cuda:1")] * 2
    assert chosen("cpu") == [("a", "cpu"), ("b", "cpu")]
    with pytest.raises(UsageError, match="the cluster has 2 A40, 1 H200"):
        chosen("all")
    with pytest.raises(UsageError, match="names devices of one machine"):
        chosen("cuda:0")
    with pytest.raises(UsageError, match="node c: Ray counts 2 GPUs, and its driver shows 1"):
        choose_places([(node("c", gpus=2), machine("A40"))], devices="auto", workers=1)
    with pytest.raises(UsageError, match="no node of the cluster takes work"):
        choose_places([(node("d", cpus=0), machine())], devices="auto", workers=1)
    assert 3 * gpu_share(3) <= 1


def test_a_host_file_and_words(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# pods\nroot@a:2222 address=10.0.0.2 checkout=/w/admlops gpus=2\n\nb name=second # the other\n")
    first, second, third = read_hosts([str(file), "user@c"])
    assert first == Host(target="root@a", name="a", port=2222, address="10.0.0.2", checkout="/w/admlops", gpus=2)
    assert (second.name, second.target, third.target) == ("second", "b", "user@c")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-oProxyCommand=x"], "names no machine"),
        (["a b"], "'b' is not one of name="),
        (["a:99999"], "names no machine"),
        (["a", "root@a"], "two machines would be called a"),
        (["a checkout=x"], "is no absolute path"),
        (["a gpus=two"], "is no number"),
    ],
)
def test_a_wrong_host_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_hosts(words)


def test_data_maps(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('one = "/data"\n')
    (tmp_path / "map.json").write_text('{"two": "/more"}')
    given = [str(tmp_path / "map.toml"), str(tmp_path / "map.json"), "three=/x"]
    assert read_data_map(given) == {"one": "/data", "two": "/more", "three": "/x"}
    for wrong, says in (
        (["a=relative"], "no absolute path"),
        (["a=/x", "a=/y"], "twice"),
        ([str(tmp_path / "none")], "cannot be read"),
        ([str(tmp_path)], "cannot be read"),
    ):
        with pytest.raises(UsageError, match=says):
            read_data_map(wrong)
    (tmp_path / "map.toml").write_text("one = ")
    with pytest.raises(UsageError, match="neither TOML nor JSON"):
        read_data_map([str(tmp_path / "map.toml")])


def test_what_a_cluster_started_is_found_and_ended_by_its_mark(tmp_path: Path) -> None:
    """One that left its parent and its session; orphans alone where that is asked; nothing of another cluster."""
    code = "import time; print('x', flush=True); time.sleep(600)"

    def start(cluster: str, actor: str | None = None) -> subprocess.Popen[bytes]:
        marks = {CLUSTER_VARIABLE: cluster, **({} if actor is None else {ACTOR_VARIABLE: actor})}
        started = subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, **marks},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert started.stdout is not None
        assert started.stdout.readline() == b"x\n"
        return started

    mine, other = f"t{os.getpid()}", f"u{os.getpid()}"
    processes = [start(mine), start(mine, own_actor_mark()), start(mine, "1.1"), start(other)]
    try:
        assert {one.pid for one in find_marked([mine])} == {one.pid for one in processes[:3]}
        assert end_marked([mine], orphans=True) == []
        assert processes[2].wait(10) != 0
        assert [one.poll() for one in processes] == [None, None, processes[2].returncode, None]
        assert end_marked([mine]) == []
        assert [one.wait(10) != 0 for one in processes[:2]] == [True, True]
        assert processes[3].poll() is None
    finally:
        for one in processes:
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()


def state(identifier: str, address: str) -> ClusterState:
    return ClusterState(id=identifier, address=address, ray="2", python="3", created=address, nodes=[])


def test_states_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no cluster was started from here"):
        find_state()
    for number in (1, 2):
        write_state(state(f"c{number}", f"10.0.0.{number}:6379"))
        write_token(f"c{number}", "secret")
    assert stat.S_IMODE(token_path("c1").stat().st_mode) == 0o600
    assert [one.id for one in read_states()] == ["c1", "c2"]
    assert find_state("10.0.0.2:6379").id == "c2"
    with pytest.raises(UsageError, match="more than one cluster"):
        find_state()
    with pytest.raises(UsageError, match="there is no cluster 'c3'"):
        find_state("c3")


def test_machines_that_differ_are_refused() -> None:
    here = {"python": "3.11.7", "ray": "2.60.0", "code": {"commit": "a"}, "checkout": "/here"}
    hosts = [Host(target="", name="head"), Host(target="b", name="b")]
    for change, says in (
        ({"python": "3.11.8"}, "b has Python 3.11.8, and this machine 3.11.7"),
        ({"ray": "2.59.0"}, "b has Ray 2.59.0"),
        ({"code": {"commit": "z"}}, "its commit is z, here a"),
    ):
        with pytest.raises(EnvError, match=says):
            lifecycle._require_equal(here, list(zip(hosts, [here, {**here, **change}], strict=True)))


def test_refusals_on_the_command_line(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert typed("cluster", "status").out == "no cluster was started from here\n"
    for words, says in (
        (("cluster", "down"), "no cluster was started from here"),
        (("cluster", "up", "a b"), "'b' is not one of"),
        (("run", "GroundPlane", "--data", tmp_path, "--split", "all", "--executor", "ray"), "admlops cluster up HOST"),
        (
            ("run", "GroundPlane", "--data", tmp_path, "--split", "all", "--executor", "ray", "--address", "x"),
            "not HOST:PORT",
        ),
    ):
        said = typed(*words)
        assert (said.code, says in said.err, "Traceback" in said.err) == (2, True, False), (words, said)
    planned = typed("cluster", "up", "root@a", "--dry-run")
    assert "would start a node on root@a" in planned.out


def test_the_lock_of_the_extra_holds_what_the_hosts_lock_lacks() -> None:
    names = [
        set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (find_layout().root / file).read_text(), re.MULTILINE))
        for file in (LOCK, "requirements.txt")
    ]
    assert "ray" in names[0]
    assert names[0] & names[1] == set(), "it is installed beside, without dependencies"
    try:
        wanted = importlib.metadata.requires("ray") or []
    except importlib.metadata.PackageNotFoundError:
        return
    needed = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in wanted if "extra ==" not in line}
    assert needed <= names[0] | names[1]
