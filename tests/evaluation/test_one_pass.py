"""The records of a run are read once, whatever is asked of them, and what a reader does not know is no obstacle."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import Admlops
from tests.evaluation.oracle_records import metadata, truth_record
from tests.evaluation.test_evaluate import make_run

from admlops.core.errors import RecordError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation import run_outputs
from admlops.evaluation.detection_3d.protocols import VAD
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.vector_map.protocols import CHAMFER_WITH_CENTERLINES, IOU
from admlops.results import record_json as record_module
from admlops.results.record import Outputs, Plan, Record
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder

EVERY_PROTOCOL = (VAD.name, IOU.name, CHAMFER_WITH_CENTERLINES.name)

_opened: Counter[str] = Counter()
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(".jsonl"):
        _opened[Path(arguments[0]).name] += 1


sys.addaudithook(_watch)


def planned(data: NuScenes, token: str) -> Record:
    """A record with boxes, map elements and a plan."""
    plan = Plan(command="straight", interval_s=0.5, waypoints=[(float(step), 0.0) for step in range(1, 7)])
    return msgspec.structs.replace(truth_record(data, token, noise=0.3), plan=plan)


@pytest.mark.parametrize("official", [False, True])
def test_every_record_is_opened_and_decoded_once(
    data: NuScenes,
    tokens: list[str],
    layout: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    official: bool,
) -> None:
    run = make_run(tmp_path / "run", data, [planned(data, token) for token in tokens])
    decoded: Counter[str] = Counter()
    derive = record_module.partial_decoder

    def counting(keys: Any) -> Any:
        decode = derive(keys)

        def count(line: bytes, where: str) -> Any:
            decoded[where] += 1
            return decode(line, where)

        return count

    def refuse(line: bytes, *, where: str) -> Record:
        raise AssertionError(f"{where} is decoded as a whole")

    monkeypatch.setattr(run_outputs, "partial_decoder", counting)
    monkeypatch.setattr("admlops.results.run_folder.decode_record", refuse)
    if official:  # without the environments: what is handed to them is made all the same
        monkeypatch.setattr("admlops.evaluation.detection_3d.official.evaluate_submission", _no_answer)
    monkeypatch.setattr(sys.modules[__name__], "_watching", True)
    _opened.clear()
    summary = evaluate_run(run, data, layout=layout, say=print, official=official, protocols=EVERY_PROTOCOL)
    monkeypatch.setattr(sys.modules[__name__], "_watching", False)
    records = {name: times for name, times in _opened.items() if name != "telemetry.jsonl"}
    assert records == {f"{scene.name}.jsonl": 1 for scene in data.scenes()}
    assert set(decoded.values()) == {1}
    assert len(decoded) == len(tokens)
    keys = {"detection", "vad_detection", "map", "map_iou", "map_centerline", "plan", "plan_uniad"}
    assert set(summary["details"]) == keys
    assert summary["worst"]
    if official:
        (one,) = (entry for entry in summary["official"] if entry["package"] == "nuscenes-devkit")
        assert one["numpy"] == "none"


def _no_answer(results: dict[str, Any], **_: Any) -> dict[str, Any]:
    assert any(results.values())
    errors = dict.fromkeys(("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), 1.0)
    return {"summary": {"mean_ap": 0.0, "nd_score": 0.0, "tp_errors": errors}, "numpy": "none"}


def _with_unknown_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{key: _with_unknown_keys(own) for key, own in value.items()}, "of_tomorrow": [{"x": 1}]}
    return [_with_unknown_keys(own) for own in value] if isinstance(value, list) else value


def _rewrite(run: RunFolder, change: Any) -> None:
    for path in run.records_path.iterdir():
        lines = [change(json.loads(line)) for line in path.read_bytes().splitlines()]
        path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_unknown_keys_at_every_level_change_nothing(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", data, [planned(data, token) for token in tokens])
    before = evaluate_run(run, data, layout=layout, say=print)
    _rewrite(run, _with_unknown_keys)
    assert evaluate_run(run, data, layout=layout, say=print) == before
    assert len(list(run.records())) == len(tokens)


def test_two_processes_give_the_numbers_of_one(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [planned(data, token) for token in tokens]
    records[1] = make_record(metadata(data, tokens[1], failed=True), Outputs())
    run = make_run(tmp_path / "run", data, records)
    alone = evaluate_run(run, data, layout=layout, say=print, protocols=EVERY_PROTOCOL)
    monkeypatch.setattr(run_outputs, "WORTH_A_PROCESS_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    join, joined = run_outputs._Pass.join, set[Path]()

    def spy(reading: run_outputs._Pass, folder: Path) -> None:
        joined.add(folder)
        join(reading, folder)

    monkeypatch.setattr(run_outputs._Pass, "join", spy)
    assert evaluate_run(run, data, layout=layout, say=print, protocols=EVERY_PROTOCOL) == alone
    assert joined, "the second process failed, and the first one read everything"


@pytest.mark.parametrize("key", ["detections_3d", "map_elements", "plan"])
def test_a_sample_that_is_ok_and_does_not_answer_is_named(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path, key: str
) -> None:
    records = [planned(data, token) for token in tokens]
    records[1] = msgspec.structs.replace(records[1], **{key: msgspec.UNSET})
    run = make_run(tmp_path / "run", data, records)
    said = rf"scene-0103.jsonl:2: .*{tokens[1]} \(scene-0103\) has status ok and no {key}, where others have one"
    with pytest.raises(RecordError, match=said):
        evaluate_run(run, data, layout=layout, say=print)
    assert not run.metrics_path.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "failed"}, "status failed, and no failure"),
        ({"status": "failed", "failure": {"class": "data", "message": "m", "hint": "h"}}, "status failed, and outputs"),
    ],
)
def test_a_failed_sample_with_outputs_or_without_a_reason_is_named(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run = make_run(tmp_path / "run", data, [planned(data, token) for token in tokens])

    def spoil(record: dict[str, Any]) -> dict[str, Any]:
        if record["metadata"]["sample_token"] == tokens[2]:
            record["metadata"] |= change
        return record

    _rewrite(run, spoil)
    with pytest.raises(RecordError, match=rf"scene-0103.jsonl:3 .*{tokens[2]} \(scene-0103\) has {said}"):
        evaluate_run(run, data, layout=layout, say=print)


def test_a_second_record_of_a_sample_is_named(
    data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", data, [truth_record(data, token) for token in (*tokens, tokens[0])])
    with pytest.raises(RecordError, match=rf"more than one record of a sample: .*:6 .*{tokens[0]} \(scene-0103\)"):
        evaluate_run(run, data, layout=layout, say=print)


EXTENSION = """
from admlops.catalog.registries import EVALUATIONS
from admlops.evaluation.base import Column, Declared, MetricSpec, Needs
from admlops.evaluation.metrics import Metric


class Counts:
    def __init__(self):
        self.found = []

    def add(self, record):
        self.found.append(len(record.tracks or ()))


class Result:
    protocol = "example.tracks"

    def __init__(self, found):
        self.found = found

    def metrics(self, dataset):
        value = sum(self.found) / len(self.found)
        return [Metric(name="tracks", protocol=self.protocol, value=value, n=len(self.found), dataset=dataset)]

    def details(self):
        return {"found": self.found}

    def resample(self, scenes, weights):
        return {}


class Tracking(Declared):
    def begin(self, context):
        return Counts()

    def finish(self, accumulator, context):
        return Result(accumulator.found)


EVALUATIONS.register(
    "tracks",
    Tracking(
        id="tracks",
        task="tracking",
        protocol="example.tracks",
        needs=Needs(key="tracks", record={"tracks": list[dict[str, int]]}),
        metrics=(MetricSpec("tracks", higher_is_better=False),),
        columns=(Column("tracks"),),
        official="it is an example",
    ),
)
"""


def test_an_extension_adds_a_task_by_registration_alone(
    data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    run = make_run(tmp_path / "repository" / "runs" / "tracked", data, [truth_record(data, token) for token in tokens])

    def track(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "tracks": [{"id": 1}, {"id": 2}]}

    _rewrite(run, track)
    site = tmp_path / "site"
    (site / "tracks_extension-1.0.dist-info").mkdir(parents=True)
    (site / "tracks_extension.py").write_text(EXTENSION)
    (site / "tracks_extension-1.0.dist-info" / "METADATA").write_text("Name: tracks_extension\nVersion: 1.0\n")
    entry = "[admlops.extensions]\ntracks = tracks_extension\n"
    (site / "tracks_extension-1.0.dist-info" / "entry_points.txt").write_text(entry)
    plain = json.loads(admlops("evaluate", "tracked", "--json").stdout)["metrics"]
    assert {one["protocol"] for one in plain} == {"nuscenes.detection_cvpr_2019", "maptr.chamfer-60x30-0.5_1.0_1.5"}
    shown = admlops("evaluate", "tracked", "--json", variables={"PYTHONPATH": str(site)})
    metrics = {(one["protocol"], one["name"]): one for one in json.loads(shown.stdout)["metrics"]}
    assert metrics["example.tracks", "tracks"]["value"] == 2.0
    assert metrics["example.tracks", "tracks"]["n"] == len(tokens)
    assert json.loads(run.metrics_path.read_text())["details"]["tracks"]["found"] == [2] * len(tokens)
