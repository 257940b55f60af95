"""The regression gate: what passes, what fails, what cannot be judged, and policies that are wrong by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.noisy_runs import NoisyRuns

from admlops.core.errors import UsageError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.paired_bootstrap import Difference
from admlops.pipeline.gate import Outcome, _judge_metric, judge, to_markdown
from admlops.pipeline.gate_policy import Policy, read_policy


def write(folder: Path, text: str) -> Path:
    path = folder / "gate.toml"
    path.write_text(text)
    return path


def test_a_worse_run_fails_and_a_better_one_passes(noisy_runs: NoisyRuns) -> None:
    policy = Policy(metrics={"mAP": 0.01, "mATE": 0.05})
    worse, better = judge(noisy_runs.near, noisy_runs.far, policy), judge(noisy_runs.far, noisy_runs.near, policy)
    assert not worse.passed
    assert {one.what.split()[0] for one in worse.judgements if one.outcome == "failed"} == {"mAP", "mATE"}
    assert better.passed
    text = to_markdown(worse)
    assert text.startswith("**Regression gate failed**: `far` against `near`")
    assert "<details><summary>" in text


@pytest.mark.parametrize(
    ("interval", "proof", "outcome"),
    [
        ((-0.10, -0.02), "worse", "failed"),
        ((-0.10, +0.01), "worse", "passed"),
        ((-0.10, +0.01), "not-worse", "failed"),
        ((-0.005, +0.01), "not-worse", "passed"),
    ],
)
def test_the_interval_decides(interval: tuple[float, float], proof: str, outcome: Outcome) -> None:
    one = Difference(
        metric="mAP", protocol="p", n=20, a=0.5, b=0.45, difference=-0.05, interval=interval, p_value=0.1, reason=None
    )
    metric = Metric(name="mAP", protocol="p", value=0.5, n=20, dataset="d")
    found = _judge_metric(one, metric, 0.01, Policy(metrics={}, proof=proof))  # type: ignore[arg-type]
    assert found.outcome == outcome


def test_what_cannot_be_judged_fails_unless_the_policy_says_otherwise(noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    text = "[latency]\nworse_percent = 10\n[energy]\nworse_percent = 5\n[memory]\ngpu_worse_percent = 5\n"
    strict = judge(noisy_runs.near, noisy_runs.near, read_policy(write(tmp_path, text)))
    assert [one.outcome for one in strict.judgements[:3]] == ["not judged"] * 3
    assert not strict.passed
    assert judge(noisy_runs.near, noisy_runs.near, read_policy(write(tmp_path, 'unknown = "pass"\n' + text))).passed


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[metric]\nmAP = 0.1", "metric is no key of a policy; metrics is one"),
        ("[metrics]\nmAP = -1", "metrics.mAP is -1"),
        ("[latency]\npercentile = 'p42'\nworse_percent = 1", "latency.percentile is 'p42'"),
        ("[latency]\npercentile = 'p50'", "latency.worse_percent is missing"),
        ("[memory]\ngpu = 1", "memory.gpu is no key"),
        ("energy = 3", "energy is 3, and must be a table"),
        ("[failures]\nnew_classes = 1", "failures.new_classes is 1"),
        ("proof = 'maybe'", "proof is 'maybe'"),
        ("[metrics\n", "is no TOML"),
    ],
)
def test_a_wrong_policy_is_named_by_its_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_policy(write(tmp_path, text))
    assert named in raised.value.message


def test_exit_codes_and_markdown(noisy_runs: NoisyRuns, admlops: Admlops, tmp_path: Path) -> None:
    policy, out = write(tmp_path, "[metrics]\nNDS = 0.02\n"), tmp_path / "gate.md"
    own = {"ADMLOPS_REP_PATH": str(noisy_runs.layout.repository)}
    found = admlops("gate", "near", "far", "--policy", policy, "--markdown", out, "--json", check=False, variables=own)
    assert found.returncode == 1
    assert json.loads(found.stdout)["passed"] is False
    assert "NDS" in out.read_text()
    assert admlops("gate", "far", "near", "--policy", policy, variables=own).returncode == 0
    unknown = write(tmp_path, "[metrics]\nmAPP = 0.02\n")
    wrong = admlops("gate", "far", "near", "--policy", unknown, check=False, variables=own)
    assert wrong.returncode == 2
    assert "metrics.mAPP" in wrong.stderr
