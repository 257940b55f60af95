"""What the page says: comparable or not, where a percentile stands, which model comes first."""

from __future__ import annotations

from dataclasses import replace as replaced

import pytest
from msgspec.structs import replace
from tests.reports.fabricate import DETECTION, MAP, make_claims, make_header, make_metadata, make_run

from admlops.catalog.model import Claim
from admlops.evaluation.latency.summary import summarize
from admlops.pipeline.run_data import RunData
from admlops.reports import missing_model, page

REAL = make_run("MapTR")
assert REAL.header is not None
REAL = replaced(
    REAL,
    header=replace(
        REAL.header,
        data=replace(REAL.header.data, version="v1.0-trainval", split="val", synthetic=False),
        settings={"device": "cuda:0", "checkpoint": "/volume/checkpoints/MapTR/nano.pth"},
        provenance=replace(REAL.header.provenance, gpus=["NVIDIA RTX 3090"]),
    ),
    checkpoint="nano-110e",
)


def reasons(run: RunData) -> dict[tuple[str, str], str]:
    return {(row.metric, row.protocol): row.reason for row in page.compare_claims("M", run)}


def test_a_claim_is_comparable_only_under_its_own_conditions() -> None:
    found = reasons(REAL)
    assert found["mAP", MAP] == ""
    assert found["FPS", "latency.batch1"] == ""
    assert found["mAP", "vad.detection-30x15"] == f"measured under another protocol: {MAP}, {DETECTION}"
    row = page.compare_claims("M", REAL)[0]
    assert (row.claimed, row.measured, row.difference) == ("0.463", "0.420", "-0.043")


def test_a_claim_is_not_comparable_on_other_data_weights_or_device() -> None:
    assert REAL.header is not None
    header = REAL.header
    synthetic = replaced(REAL, header=replace(header, data=replace(header.data, synthetic=True)))
    mini = replaced(REAL, header=replace(header, data=replace(header.data, version="v1.0-mini", split="mini_val")))
    weights = replaced(REAL, checkpoint="tiny-24e")
    own = replaced(REAL, header=replace(header, settings={"checkpoint": "/home/mine.pth"}), checkpoint=None)
    device = replaced(REAL, header=replace(header, provenance=replace(header.provenance, gpus=["NVIDIA H100"])))
    assert reasons(synthetic)["mAP", MAP] == "measured on synthetic data"
    assert reasons(mini)["mAP", MAP] == "measured on v1.0-mini, mini_val; published on v1.0-trainval, val"
    assert reasons(weights)["mAP", MAP] == "measured with checkpoint tiny-24e"
    assert reasons(own)["mAP", MAP] == "measured with checkpoint /home/mine.pth"
    assert reasons(device)["FPS", "latency.batch1"] == "measured on NVIDIA H100"
    for run in (synthetic, mini, weights, own):
        assert page.compare_claims("M", run)[0].difference == ""


def test_a_claim_names_its_subset_where_it_is_not_the_usual_one() -> None:
    assert REAL.header is not None
    on_a = replaced(REAL, header=replace(REAL.header, data=replace(REAL.header.data, version="subset_A")))
    claim = {"metric": "mAP", "value": 0.4, "protocol": "openlanev2.1.0", "source": "paper"}
    claims = [Claim.model_validate({**claim, "version": version}) for version in (None, "subset_B")]
    measured = {"name": "mAP", "protocol": "openlanev2.1.0", "value": 0.5, "n": 40, "interval": None}
    assert on_a.metrics is not None
    run = replaced(on_a, claims=claims, metrics={**on_a.metrics, "metrics": [measured]})
    assert [row.reason for row in page.compare_claims("M", run)] == [
        "",
        "measured on subset_A, val; published on subset_B, val",
    ]


def test_claims_of_a_model_that_is_not_set_up_stand_without_a_measurement() -> None:
    rows = page.compare_claims("M", missing_model("MapTR", hint="x", claims=make_claims()))
    assert {(row.reason, row.measured, row.difference) for row in rows} == {("not set up", "—", "")}


def test_scores_of_other_data_are_never_ranked_together() -> None:
    one, two = make_run("A"), make_run("B", better=0.1)
    assert two.metrics is not None
    other = replaced(two, metrics={**two.metrics, "data": {**two.metrics["data"], "samples_sha256": "00" * 32}})
    together = page.group_scores(["A", "B"], [one, two])
    apart = page.group_scores(["A", "B"], [one, other])
    assert [group.labels for group in together] == [("A", "B"), ("A", "B")]
    assert sorted(group.labels for group in apart) == [("A",), ("A",), ("B",), ("B",)]
    first = next(ranking for ranking in together[0].rankings if ranking.name == "NDS")
    assert [(place.place, place.model) for place in first.places] == [(1, "B"), (2, "A")]


def test_two_runs_of_one_model_are_labelled_by_their_runs() -> None:
    runs = [make_run("A", run="first"), make_run("A", run="second"), make_run("B")]
    assert page.label_runs(runs) == ["first", "second", "B"]


def test_runs_of_one_verdict_share_its_sentence() -> None:
    runs = [make_run("A"), make_run("B"), make_run("C", failed=3), replaced(make_run("D"), latency=None)]
    fine, bad = page.group_verdicts(["A", "B", "C", "D"], runs)
    assert (fine.labels, fine.verdict, fine.advice) == (("A", "B"), "VALID", "")
    assert fine.why == "every sample was timed, and there are enough of them."
    assert bad.labels == ("C",)
    assert bad.why.startswith("3 samples failed and have no time")
    assert bad.advice == f"Next: admlops run C --run {runs[2].name} --retry-failed"


def test_too_few_times_are_told_how_many_would_do() -> None:
    samples = make_metadata("A", samples=20)
    few = replaced(make_run("A"), samples=samples, latency=summarize(samples))
    (verdict,) = page.group_verdicts(["A"], [few])
    assert verdict.advice == "Next: admlops run A --limit 65"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0021, "0.0021"), (0.04, "0.04"), (9.876, "9.88"), (26.94, "26.9"), (2e-6, "2.0e-06")]
)
def test_a_quantity_never_rounds_to_nothing(value: float, shown: str) -> None:
    assert page.quantity(value) == shown


def test_failures_are_grouped_by_class() -> None:
    (group,) = page.group_failures("A", make_run("A", failed=3))
    assert (group.kind, group.count, group.message) == ("cuda_oom", 3, "CUDA out of memory")


def test_provenance_names_everything_that_made_the_run() -> None:
    facts = dict(page.list_provenance(make_run("A")))
    assert facts["environment digest"] == "ab" * 32
    assert facts["manifest sha256"] == "cd" * 32
    assert facts["libraries"] == "numpy 2.4.6"
    assert facts["option: command"] == "admlops run A --split mini_val"
    assert "setting: checkpoint" not in facts


def test_the_data_are_described_plainly() -> None:
    assert page.describe_data(make_run("A")).startswith(
        "synthetic scenes in nuScenes' layout, v1.0-mini, split mini_val: 2 sc"
    )
    run = replaced(make_run("A"), header=make_header(synthetic=False))
    assert page.describe_data(run) == "nuScenes, v1.0-mini, split mini_val: 2 scenes, 80 samples"
    header = make_header()
    lanes = replace(header, data=replace(header.data, version="subset_A"))
    assert page.describe_data(replaced(run, header=lanes)).startswith(
        "synthetic scenes in OpenLane-V2's layout, subset_A"
    )


@pytest.mark.parametrize(
    ("text", "shown"), [("2026-01-02T03:04:05+00:00", "2 January 2026, 03:04 UTC"), ("yesterday", "yesterday")]
)
def test_moment(text: str, shown: str) -> None:
    assert page.moment(text) == shown


def test_a_claim_of_a_config_says_so() -> None:
    claim = Claim.model_validate(
        {"metric": "NDS", "value": 0.5, "protocol": DETECTION, "source": "paper", "config": "r50", "device": "A100"}
    )
    (row,) = page.compare_claims("M", replaced(REAL, claims=(claim,)))
    assert row.conditions == "config r50, A100"
