"""`admlops battle` and the battles of a comparison, on runs of generated boxes: files, command and API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.evaluation.generated_boxes import VERSION, predict, tokens_of, write_tables
from tests.evaluation.generated_runs import write_run

import admlops as api
from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import Metric
from admlops.pipeline.battle import battle_all, battle_runs, check_metric, load_contender
from admlops.pipeline.comparison_summary import list_fronts
from admlops.results.run_folder import RunFolder

SCENES, SAMPLES = 11, 2
MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("battles") / "nuscenes", scenes=SCENES, samples=SAMPLES, objects=12)


@pytest.fixture
def make(root: Path, tmp_path: Path) -> MakeRun:
    """Write a run of generated predictions, all of one model, and evaluate it."""

    def make_run(name: str, *, scenes: int = SCENES, skill: float = 1.0, evaluated: bool = True) -> RunFolder:
        annotations = read_annotations(root, VERSION, tokens_of(scenes, SAMPLES))
        truth = make_ground_truth(annotations)
        boxes = predict(truth, per_sample=12, skill=skill, seed=3)
        run = write_run(tmp_path / "repository" / "runs" / name, root, annotations, truth, boxes)
        if evaluated:
            evaluate_run(run, NuScenes(root, VERSION), layout=find_layout(), say=print)
        return run

    return make_run


def test_the_command_says_who_wins_and_writes_summary_and_page(make: MakeRun, admlops: Admlops, tmp_path: Path) -> None:
    make("worse", skill=0.3, evaluated=False), make("better")
    out = tmp_path / "out"
    shown = admlops("battle", "worse", "better", "--metric", "NDS", "--out", out)
    assert shown.stdout.splitlines()[0] == "worse : better: better wins"
    assert "excludes 0" in shown.stdout
    assert "named by --metric" in shown.stdout
    summary = json.loads((out / "comparison_summary.json").read_text())
    (battle,) = summary["battles"]
    assert (battle["verdict"], battle["winner"], battle["named"]) == ("winner", "better", "--metric")
    assert battle["primary"]["metric"] == "NDS"
    assert battle["primary"]["interval"][0] > 0
    assert [one["question"] for one in battle["further"]] == ["speed", "memory", "energy"]
    assert {one["verdict"] for one in battle["further"]} <= {"not decided", "not comparable"}
    assert (out / "report.html").is_file()
    again = json.loads(admlops("battle", "better", "worse", "--out", out, "--json").stdout)
    assert (again["winner"], again["primary"]["metric"]) == ("better", "mAP")


def test_equal_runs_tie_and_few_scenes_decide_nothing(make: MakeRun) -> None:
    tie = battle_runs(make("one", skill=0.5), make("other", skill=0.5))
    assert (tie.verdict, tie.winner, tie.primary.difference) == ("tie", None, 0.0)
    few = battle_runs(make("few", scenes=3, skill=0.3), make("few-better", scenes=3))
    assert (few.verdict, few.winner) == ("not decided", None)
    assert "3, at least 10 are needed" in few.primary.reason


def test_other_samples_do_not_compare(make: MakeRun) -> None:
    fewer = battle_runs(make("all"), make("part", scenes=10))
    assert fewer.verdict == "not comparable"
    assert "their data differ" in fewer.primary.reason


def test_times_of_another_batch_do_not_compare(make: MakeRun) -> None:
    single, batched = (_on_a_cpu(make(name)) for name in ("single", "batched"))
    for file in (batched.path / "records").glob("*.jsonl"):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record in records:
            record["metadata"] |= {"batch": {"size": 4, "inference_share": 0.01, "end_to_end_share": 0.02}}
            for times in ("inference_time", "end_to_end_time"):
                record["metadata"].pop(times, None)
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    found = battle_runs(single, batched)
    assert found.verdict == "tie"
    assert (found.further[0].verdict, found.further[0].reason) == ("not comparable", "different batch: 1 and 4")


def _on_a_cpu(run: RunFolder) -> RunFolder:
    """The run, with a header that names its device."""
    file = run.path / "run.json"
    header = json.loads(file.read_text())
    file.write_text(json.dumps({**header, "device": {"kind": "cpu", "name": "a CPU", "ids": ["cpu"]}}))
    return RunFolder.open(run.path)


def test_every_pair_battles(make: MakeRun) -> None:
    contenders = [load_contender(name, make(name, skill=skill)) for name, skill in (("a", 0.3), ("b", 1.0), ("c", 1.0))]
    found = battle_all(contenders, metric="mAP")
    assert [(one.models, one.verdict, one.winner) for one in found] == [
        (("a", "b"), "winner", "b"),
        (("a", "c"), "winner", "c"),
        (("b", "c"), "tie", None),
    ]
    unknown = battle_all(contenders[:2], metric="OLS")
    assert unknown[0].verdict == "not comparable"


def test_the_api(make: MakeRun) -> None:
    worse, better = make("worse", skill=0.3), make("better")
    fought = api.battle(worse.path, better.path)
    assert (fought.verdict, fought.winner, fought.primary.metric) == ("winner", "better", "mAP")
    assert fought.to_json()["primary"]["interval"] == list(fought.primary.interval or ())
    with pytest.raises(UsageError, match="has a metric 'OLS'") as caught:
        api.battle(worse.path, better.path, metric="OLS")
    assert "nuscenes.detection_cvpr_2019/NDS" in caught.value.hint


def test_what_cannot_be_is_refused_before_anything_runs(make: MakeRun, admlops: Admlops, tmp_path: Path) -> None:
    make("one")
    for arguments, message in (
        (("one", "one"), "against itself is always a tie"),
        (("one", "nobody"), "nobody is neither a model of the catalogue nor a run"),
        (("one", "GroundPlane", "--metric", "beauty"), "no evaluation has a metric of that name"),
    ):
        refused = admlops("battle", *arguments, check=False)
        assert refused.returncode == 2
        assert message in refused.stderr
    assert not (tmp_path / "repository" / "comparisons").exists()
    check_metric("car_detection.car-iou0.5/AP50")
    with pytest.raises(UsageError, match="no evaluation"):
        check_metric("car_detection.car-iou0.5/NDS")


def test_a_dry_run_writes_nothing(make: MakeRun, admlops: Admlops, tmp_path: Path) -> None:
    make("one"), make("two", evaluated=False)
    shown = admlops("battle", "one", "two", "--dry-run", "--out", tmp_path / "out", "--json")
    actions = [(one["action"], one["target"].rpartition("/")[2]) for one in json.loads(shown.stdout)["steps"]]
    assert actions == [("evaluate", "two"), ("write", "comparison_summary.json"), ("write", "report.html")]
    assert not (tmp_path / "out").exists()


@pytest.mark.full
@pytest.mark.usefixtures("groundplane_environment")
def test_a_model_battles_a_run(synthetic_root: Path, admlops: Admlops, tmp_path: Path) -> None:
    """The model runs on the run's own data; two scenes decide nothing, and both took the same time of one machine."""
    admlops("run", "GroundPlane", "--data", synthetic_root, "--run", "earlier")
    admlops("evaluate", "earlier")
    shown = json.loads(admlops("battle", "GroundPlane", "earlier", "--fresh", "--json").stdout)
    assert shown["models"] == ["GroundPlane", "earlier"]
    assert shown["runs"][0] != shown["runs"][1] == "earlier"
    assert (shown["verdict"], shown["primary"]["difference"]) == ("not decided", 0.0)
    speed = shown["further"][0]
    assert speed["verdict"] in ("tie", "winner", "not decided")
    assert speed["a"] > 0
    energy = shown["further"][2]
    assert (energy["verdict"], energy["a"]) == ("not decided", None) or energy["a"] > 0


def test_the_front_has_only_models_whose_energy_was_measured_in_one_way() -> None:
    def measured(value: float) -> list[Metric]:
        return [Metric(name="NDS", protocol="nuscenes.detection_cvpr_2019", value=value, n=9, dataset="d")]

    scores = {name: measured(value) for name, value in (("a", 0.2), ("b", 0.5), ("c", 0.4), ("d", 0.9), ("e", 0.1))}
    joules = {"a": ("rapl", 1.0), "b": ("rapl", 3.0), "c": ("rapl", 4.0), "d": ("nvml_counter", 9.0), "e": None}
    first, second = list_fronts(scores, joules)
    assert (first["metric"], first["method"], first["front"]) == ("NDS", "nvml_counter", ["d"])
    assert (second["method"], second["front"]) == ("rapl", ["a", "b"])
    assert second["points"]["c"] == [4.0, 0.4]
