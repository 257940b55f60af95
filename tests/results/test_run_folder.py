"""Run folders: whole or resumable, never shared, never silently another run's."""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admlops.core.errors import RecordError, StorageError, UsageError
from admlops.results.header import DataInfo, DeviceInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Box3D, Detection3D, Failure, MapElement, Metadata, Outputs, Record
from admlops.results.record_json import decode_record, encode_record, make_record
from admlops.results.run_folder import RunFolder, records_digest

HEADER = RunHeader(
    run="r",
    model="GroundPlane",
    variant="modern",
    environment=EnvironmentInfo(name="GroundPlane", digest="e" * 64, backend="venv", python="3.11.7"),
    data=DataInfo(root="/data", version="v1.0-mini", split="mini_val", samples_sha256="d" * 64, synthetic=True),
    provenance=Provenance(commit="c" * 40, admlops="0.1.0", host="pod", gpus=["H200"], driver="570"),
    scenes={"scene-0103": 2, "scene-0061": 1},
    settings={"device": "cpu", "config": None, "checkpoint": None},
    options={"workers": 1},
    created="2026-01-01T00:00:00Z",
)


def make(scene: str, index: int, *, run: str = "r", seconds: float = 0.1) -> Record:
    metadata = Metadata(
        model_name="GroundPlane",
        variant="modern",
        run=run,
        sample_token=f"{scene}-{index}",
        scene=scene,
        index_in_scene=index,
        status="ok",
        inference_time=seconds,
        end_to_end_time=2 * seconds,
        gpu_memory_used=seconds * 1000,
    )
    return make_record(metadata, Outputs(detections_3d=[]))


def fill(folder: RunFolder, scene: str, count: int, **facts: Any) -> None:
    with folder.scene_writer(scene) as writer:
        for index in range(count):
            writer.append(make(scene, index, **facts))
        writer.commit()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "r", HEADER)


def test_a_header_comes_back_as_it_was(run: RunFolder) -> None:
    assert RunFolder.open(run.path).header == HEADER


def test_records_come_in_the_runs_order_not_in_that_of_writing(run: RunFolder) -> None:
    fill(run, "scene-0061", 1)
    assert run.complete_scenes() == ["scene-0061"]
    fill(run, "scene-0103", 2)
    tokens = [record.metadata.sample_token for record in run.records()]
    assert tokens == ["scene-0103-0", "scene-0103-1", "scene-0061-0"]
    assert run.count_statuses() == {"ok": 3}


def test_a_scene_counts_only_once_it_is_committed(run: RunFolder) -> None:
    with run.scene_writer("scene-0103") as writer:
        writer.append(make("scene-0103", 0))
    assert (run.records_path / "scene-0103.jsonl.part").exists()
    assert run.complete_scenes() == []
    assert list(run.records()) == []
    fill(run, "scene-0103", 2)
    assert len(list(run.records())) == 2
    assert not (run.records_path / "scene-0103.jsonl.part").exists()


def test_an_exception_leaves_the_scene_unfinished(run: RunFolder) -> None:
    def interrupt() -> None:
        with run.scene_writer("scene-0103") as writer:
            writer.append(make("scene-0103", 0))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        interrupt()
    assert run.complete_scenes() == []


@pytest.mark.parametrize(
    ("command", "resumed"),
    [
        ("admlops run VAD --data 'my data'", f"admlops run VAD --data 'my data' --run {HEADER.run} --resume"),
        (f"admlops run VAD --run {HEADER.run}", f"admlops run VAD --run {HEADER.run} --resume"),
        (f"admlops run VAD --resume --run={HEADER.run}", f"admlops run VAD --resume --run={HEADER.run}"),
        ("admlops compare --models VAD", f"admlops run {HEADER.model} --run {HEADER.run} --resume"),
        (None, f"admlops run {HEADER.model} --run {HEADER.run} --resume"),
    ],
)
def test_a_run_knows_the_command_that_goes_on_with_it(command: str | None, resumed: str) -> None:
    options = {} if command is None else {"command": command}
    assert msgspec.structs.replace(HEADER, options=options).resume_command == resumed


@pytest.mark.parametrize("scene", ["../../escape", "a/b", ".hidden", "..", "sp ace", "ü", "%41", "a\nb"])
def test_a_scenes_name_never_leaves_the_folder(tmp_path: Path, scene: str) -> None:
    run = RunFolder.create(tmp_path / "r", msgspec.structs.replace(HEADER, scenes={scene: 1}))
    fill(run, scene, 1)
    assert [record.metadata.scene for record in run.records()] == [scene]
    files = list(tmp_path.rglob("*.jsonl"))
    assert [path.parent for path in files] == [run.records_path]
    run.write_manifest()
    assert any(name.startswith("records/") for name in json.loads(run.manifest_path.read_text())["files"])


def test_a_folder_holds_one_run(run: RunFolder) -> None:
    with pytest.raises(StorageError, match="already holds a run") as caught:
        RunFolder.create(run.path, HEADER)
    assert "--resume" in caught.value.hint
    assert RunFolder.open(run.path).header == HEADER


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="holds files that are not a run"):
        RunFolder.create(tmp_path, HEADER)
    assert not (tmp_path / "run.json").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/r could not be written"):
        RunFolder.create(tmp_path / "file" / "r", HEADER)


def test_two_processes_do_not_write_one_folder(run: RunFolder) -> None:
    with FileLock(run.path / "run.lock"), pytest.raises(StorageError, match="in use by another process"), run.lock():
        pytest.fail("the lock was given twice")
    with run.lock():
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a run's header"),
        (b"[1, 2", "is not a run's header"),
        (b"[1, 2]", "is not a run's header"),
        (b'{"schema": 1}', "missing required field `run`"),
        (b'{"schema": 2, "run": "from the future"}', "run schema 2; this admlops reads up to 1"),
        (b'{"schema": "1"}', "is not a run's header"),
    ],
)
def test_a_damaged_or_newer_header_is_explained(run: RunFolder, content: bytes, words: str) -> None:
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(RecordError, match=words) as caught:
        RunFolder.open(run.path)
    assert str(run.path / "run.json") in caught.value.message
    assert caught.value.hint
    assert (run.path / "run.json").read_bytes() == content


@pytest.mark.parametrize("missing", ["nowhere", "file/below"])
def test_a_folder_without_a_run_is_explained(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="is not a run"):
        RunFolder.open(tmp_path / missing)


def test_a_damaged_record_names_file_and_line(run: RunFolder) -> None:
    fill(run, "scene-0103", 2)
    path = run.records_path / "scene-0103.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:30] + b"\n")
    with pytest.raises(RecordError, match=r"scene-0103\.jsonl:2 is not a standard record"):
        list(run.records())


def test_a_full_disk_is_a_storage_error_that_names_the_file(run: RunFolder) -> None:
    (run.records_path / "scene-0103.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"scene-0103\.jsonl\.part could not be written: No space left"):
        fill(run, "scene-0103", 2)
    assert run.complete_scenes() == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": "MapTR"}, "model was 'GroundPlane' and is 'MapTR' now"),
        ({"variant": "classic"}, "variant"),
        ({"environment": msgspec.structs.replace(HEADER.environment, digest="f" * 64)}, "environment.digest"),
        ({"data": msgspec.structs.replace(HEADER.data, samples_sha256="f" * 64)}, "data.samples_sha256"),
        ({"data": msgspec.structs.replace(HEADER.data, version="v1.0-trainval")}, "data.version"),
        ({"scenes": {"scene-0103": 2}}, "scenes"),
        ({"settings": {**HEADER.settings, "config": "/other.py"}}, "settings.config was None and is '/other.py' now"),
        ({"settings": {**HEADER.settings, "checkpoint": "/other.pth"}}, "settings.checkpoint"),
        ({"settings": {**HEADER.settings, "new": 1}}, "settings.new"),
        ({"settings": {**HEADER.settings, "precision": "half"}}, "settings.precision was 'authors' and is 'half' now"),
    ],
)
def test_going_on_with_something_else_is_refused(run: RunFolder, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError) as caught:
        RunFolder.resume(run.path, msgspec.structs.replace(HEADER, **changes))
    assert key in caught.value.message
    assert caught.value.hint


def on(kind: Literal["cuda", "cpu"], name: str, **more: Any) -> RunHeader:
    device = DeviceInfo(kind=kind, name=name, ids=[kind])
    return msgspec.structs.replace(HEADER, device=device, **more)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (on("cuda", "H200"), on("cuda", "A100"), "device was 'H200' and is 'A100' now"),
        (on("cuda", "H200"), on("cpu", "EPYC"), "device was 'cuda' and is 'cpu' now"),
        # Headers from before devices were recorded.
        (
            msgspec.structs.replace(HEADER, settings={**HEADER.settings, "device": "cuda:0"}),
            on("cuda", "A100"),
            "'H200'",
        ),
        (HEADER, on("cuda", "H200"), "device was 'cpu' and is 'cuda' now"),
    ],
)
def test_another_model_of_gpu_is_refused_with_what_to_do(
    tmp_path: Path, before: RunHeader, now: RunHeader, words: str
) -> None:
    path = tmp_path / "r"
    RunFolder.create(path, before)
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        RunFolder.resume(path, now)
    assert "go on" in caught.value.hint
    assert "leave --resume out" in caught.value.hint


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (on("cuda", "H200"), on("cuda", "H200", settings={**HEADER.settings, "device": "cuda:3"})),
        (on("cpu", "EPYC"), on("cpu", "Xeon")),
        (HEADER, on("cpu", "EPYC")),
        (msgspec.structs.replace(HEADER, settings={**HEADER.settings, "device": "cuda:0"}), on("cuda", "H200")),
    ],
)
def test_another_card_of_the_same_model_goes_on(tmp_path: Path, before: RunHeader, now: RunHeader) -> None:
    RunFolder.create(tmp_path / "r", before)
    run = RunFolder.resume(tmp_path / "r", now)
    run.relocate(now)
    run.begin()
    assert RunFolder.open(tmp_path / "r").header.device == now.device


def test_files_are_compared_by_content_where_it_was_recorded(tmp_path: Path) -> None:
    def with_files(folder: str, config: str) -> RunHeader:
        provenance = msgspec.structs.replace(HEADER.provenance, checkpoint_sha256="c" * 64, config_sha256=config)
        places = {"config": f"{folder}/c.py", "checkpoint": f"{folder}/w.pth"}
        return msgspec.structs.replace(HEADER, provenance=provenance, settings={**HEADER.settings, **places})

    RunFolder.create(tmp_path / "r", with_files("/one", "a"))
    RunFolder.resume(tmp_path / "r", with_files("/two", "a"))
    with pytest.raises(UsageError, match=r"the content of /two/c\.py was 'a' and is 'b' now"):
        RunFolder.resume(tmp_path / "r", with_files("/two", "b"))


def test_a_refused_resume_never_advises_itself(tmp_path: Path) -> None:
    typed = "admlops run GroundPlane --run r --resume"
    begun = msgspec.structs.replace(HEADER, options={"command": "admlops run GroundPlane --run r"})
    RunFolder.create(tmp_path / "r", begun)
    for changes in ({"adapter": "x"}, {"settings": {**HEADER.settings, "new": 1}}):
        now = msgspec.structs.replace(HEADER, options={"command": typed}, **changes)
        with pytest.raises(UsageError) as caught:
            RunFolder.resume(tmp_path / "r", now)
        assert typed not in caught.value.hint


def test_a_run_that_goes_on_is_running_and_one_whose_process_is_gone_is_stopped(run: RunFolder) -> None:
    assert RunFolder.open(run.path).observe_state() == "stopped"
    with run.lock():
        run.begin()
        assert RunFolder.open(run.path).observe_state() == "running"
    assert RunFolder.open(run.path).observe_state() == "stopped"
    run.end("failed", error="the disk is full")
    assert RunFolder.open(run.path).observe_state() == "failed"


def test_a_run_on_another_machine_goes_on_while_it_writes(run: RunFolder) -> None:
    run.append_event("run_started", host="another machine", pid=1)
    run.telemetry_path.write_text("{}\n")
    assert run.observe_state() == "running"
    long_ago = time.time() - 3600
    os.utime(run.telemetry_path, (long_ago, long_ago))
    assert run.observe_state() == "stopped"


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"workers": 8}},
        {"created": "2027-01-01T00:00:00Z"},
        {"provenance": Provenance(commit=None, admlops="0.2.0", host="another")},
        {"data": msgspec.structs.replace(HEADER.data, root="/moved")},
        {"state": "failed"},
        {"settings": {"checkpoint": None, "config": None, "device": "cpu"}},
        {"settings": {**HEADER.settings, "precision": "authors"}},  # what it was before headers said so
    ],
)
def test_what_does_not_decide_the_records_may_differ(run: RunFolder, changes: dict[str, Any]) -> None:
    assert RunFolder.resume(run.path, msgspec.structs.replace(HEADER, **changes)).header == HEADER


def test_the_digest_leaves_out_what_is_measured_and_nothing_else(tmp_path: Path) -> None:
    digests = []
    for name, seconds, scene_61 in (("one", 0.1, 1), ("two", 0.7, 1), ("three", 0.1, 0)):
        run = RunFolder.create(tmp_path / name, msgspec.structs.replace(HEADER, run=name))
        fill(run, "scene-0103", 2, run=name, seconds=seconds)
        fill(run, "scene-0061", scene_61, run=name, seconds=seconds)
        digests.append(records_digest(run))
    assert digests[0] == digests[1] != digests[2]


def test_the_state_is_kept(run: RunFolder) -> None:
    run.update(state="complete")
    assert RunFolder.open(run.path).header == msgspec.structs.replace(HEADER, state="complete")


def test_events_survive_a_line_that_was_cut(run: RunFolder) -> None:
    run.append_event("worker_started", worker=0, mark="abc")
    with run.events_path.open("ab") as file:
        file.write(b'{"t": 1, "event": "worker_st\n')
    run.append_event("scene", scene="scene-0103")
    assert [event["event"] for event in run.events()] == ["worker_started", "scene"]


def test_the_manifest_covers_every_finished_file_and_notices_changes(run: RunFolder) -> None:
    fill(run, "scene-0103", 2)
    run.append_event("scene", scene="scene-0103")
    (run.logs_path / "worker-0.log").write_text("hello\n")
    (run.records_path / "scene-0061.jsonl.part").write_text("unfinished")
    run.metrics_path.write_text("{}")
    with run.lock():
        run.write_manifest()
    files = json.loads(run.manifest_path.read_text())["files"]
    assert list(files) == ["events.jsonl", "logs/worker-0.log", "metrics.json", "records/scene-0103.jsonl", "run.json"]
    assert run.check_manifest() == []
    run.metrics_path.write_text('{"mAP": 1.0}')
    (run.logs_path / "worker-0.log").unlink()
    assert run.check_manifest() == ["logs/worker-0.log", "metrics.json"]


def test_a_missing_manifest_is_explained(run: RunFolder) -> None:
    with pytest.raises(RecordError, match=r"manifest\.json is missing or damaged"):
        run.check_manifest()


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHARE = st.floats(0, 1)
POINT = st.tuples(FINITE, FINITE)
LENGTH = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
BOXES = st.builds(
    Detection3D,
    id=st.integers(0, 2**31),
    class_name=st.text(min_size=1),
    confidence=SHARE,
    bbox_3d=st.builds(
        Box3D,
        center=st.tuples(FINITE, FINITE, FINITE),
        size_wlh=st.tuples(LENGTH, LENGTH, LENGTH),
        rotation_wxyz=st.floats(-math.pi, math.pi).map(lambda yaw: (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))),
        velocity=st.none() | POINT,
    ),
    attribute=st.text(),
)
ELEMENTS = st.builds(
    MapElement,
    id=st.integers(0, 99),
    type=st.text(min_size=1),
    points=st.lists(POINT, min_size=2, max_size=5),
    confidence=SHARE,
)
FAILED = st.builds(Failure, kind=st.just("crash"), message=st.text(), hint=st.text())


def records(status: str, failure: st.SearchStrategy[Any], outputs: st.SearchStrategy[Outputs]) -> Any:
    metadata = st.builds(
        Metadata,
        model_name=st.text(min_size=1),
        variant=st.text(min_size=1),
        run=st.just("r"),
        sample_token=st.text(min_size=1),
        scene=st.just("scene-0103"),
        index_in_scene=st.integers(0, 50),
        status=st.just(status),
        inference_time=st.none() | st.floats(0, 100),
        fixes=st.lists(st.text(), max_size=2),
        failure=failure,
    )
    return st.builds(make_record, metadata, outputs)


ANSWERS = st.builds(
    Outputs,
    detections_3d=st.lists(BOXES, max_size=3) | st.just(msgspec.UNSET),
    map_elements=st.lists(ELEMENTS, max_size=3) | st.just(msgspec.UNSET),
)
RECORDS = records("ok", st.just(msgspec.UNSET), ANSWERS) | records("failed", FAILED, st.just(Outputs()))


@settings(max_examples=40, deadline=None)
@given(RECORDS)
def test_a_record_comes_back_equal_and_equal_records_give_equal_bytes(record: Record) -> None:
    line = encode_record(record)
    assert b"\n" not in line
    read = decode_record(line, where="here")
    assert read == record
    assert encode_record(read) == line


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(st.lists(RECORDS, max_size=4))
def test_what_is_appended_is_what_is_read(tmp_path: Path, records: list[Record]) -> None:
    run = RunFolder(tmp_path, HEADER)
    with run.scene_writer("scene-0103") as writer:
        for record in records:
            writer.append(record)
        writer.commit()
    assert list(run.records_of("scene-0103")) == records


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_a_line_of_anything_that_is_no_record_is_named(line: bytes) -> None:
    with pytest.raises(RecordError, match=r"records/a\.jsonl:1") as caught:
        decode_record(line, where="records/a.jsonl:1")
    assert caught.value.hint
