"""The doctor on logs as people paste them: each is explained by the rule of its label, or called unknown."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from benchmarks.doctor import HELD_OUT, judge

from admlops.doctor import explain, load_rules
from admlops.doctor.log import clean

FOLDER = Path(__file__).with_name("logs")
LOGS: dict[str, dict[str, Any]] = {
    f"{path.stem}/{name}": one
    for path in sorted(FOLDER.glob("*.toml"))
    for name, one in tomllib.loads(path.read_text()).items()
}
UNSEEN_RULES_AT_MOST = 12
"""So many rules may have no log among ours."""
QUICK_PARTS = ("held out", "twelfth", "thirteenth")
"""The parts that the quick tests judge; the long ones judge all."""

CASES = {
    "a full /dev/shm is no full disk": ["machine/shm-no-space", "machine/shm-unexpected-bus"],
    "a killed run is no killed compiler": ["machine/killed-run", "machine/fork-no-memory"],
    "a part that moved is no source that is missing": ["mmlab/mmdet3d-core", "mmlab/sparse-conv-ext"],
    "a time-out of the ranks is no package index": ["runs/tcpstore", "network/torch-weights-dns"],
    "a warning that was survived does not count": [
        "packages/spconv-warning-then-yapf",
        "compilers/retry-then-nvcc",
        "packages/numpy2-warning-then-oom",
    ],
    "the last of two failures is told": ["symbols/two-tries"],
    "a part of an installed package is no missing package": ["mmlab/mmcv-parallel", "files/pickle-numpy-2"],
    "faults of the pod's host": ["gpu/error-802", "gpu/error-803", "gpu/nvml-mismatch", "gpu/driver-too-old"],
    "symbols of MKL, nvJitLink and NCCL": ["symbols/ijit", "symbols/nvjitlink", "symbols/nccl-symbol"],
    "compilers that are too new or die": ["compilers/gcc11-std-function", "compilers/cicc"],
    "numba, NumPy 2, and a card without kernels": [
        "packages/numba-internal",
        "packages/np-float-underscore",
        "gpu/sm90-then-cudnn",
    ],
    "memory of the host and of the card": ["machine/elastic-minus-9", "gpu/cuda-oom-old"],
    "operations that are missing": ["mmlab/spconv-cpu", "mmlab/nms-impl", "mmlab/is-mlu", "mmlab/bev-pool"],
    "a log of another machine": ["machine/shm-bus-error-worker"],
}


def answer(log: str) -> str:
    """The rule that is told about a log, or its state."""
    told = explain(clean(log))
    last = told.findings[-1].diagnosis if told.findings and told.state == "known" else None
    return last.rule if last else told.state


@pytest.mark.parametrize("name", LOGS)
def test_each_log_is_answered_by_its_label(name: str) -> None:
    assert answer(LOGS[name]["log"]) == LOGS[name]["kind"]


@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_the_faults_of_the_doctor_before_this_one(names: list[str]) -> None:
    for name in names:
        assert answer(LOGS[name]["log"]) == LOGS[name]["kind"] not in {"unknown", "none"}


@pytest.mark.parametrize("name", [name for name, one in LOGS.items() if one["kind"] not in {"unknown", "none"}])
def test_a_diagnosis_quotes_the_log_and_names_a_next_command(name: str) -> None:
    lines = clean(LOGS[name]["log"])
    told = explain(lines, model="MapTR").findings[-1].diagnosis
    assert told is not None
    assert told.evidence
    assert all(any(line.removesuffix("…") in whole for whole in lines) for line in told.evidence)
    assert "MODEL" not in told.hint
    assert told.cause
    assert "{" not in told.cause + told.hint


@pytest.mark.parametrize("name", [name for name, one in LOGS.items() if one["kind"] not in {"unknown", "none"}])
def test_an_unknown_failure_after_a_known_one_is_unknown(name: str) -> None:
    if explain(clean(LOGS[name]["log"])).warning:
        return  # it was survived
    later = 'Traceback (most recent call last):\n  File "/ws/plan.py", line 8, in solve\nplan.SolverError: rank 7 of 9'
    told = explain(clean(f"{LOGS[name]['log']}\n{later}\n"))
    assert told.state == "unknown"
    assert "plan.SolverError: rank 7 of 9" in told.findings[-1].quoted
    assert LOGS[name]["kind"] in {one.diagnosis.rule for one in told.findings if one.diagnosis}


@pytest.mark.parametrize("name", [name for name, one in LOGS.items() if one["kind"] not in {"unknown", "none"}])
def test_noise_around_a_log_changes_nothing(name: str) -> None:
    before = "".join(
        f"2022-05-04 10:20:{n:02},414 - mmdet - INFO - Epoch [1][{n}/3862]\tlr: 1e-4, loss: 4.1, memory: 9137\n"
        for n in range(60)
    )
    if LOGS[name]["kind"].startswith(("compiler", "isolated", "module-missing-in")):
        before = "Collecting mmcv-full\n  Downloading mmcv-full-1.7.2.tar.gz (607 kB)\n"
    known = {one.id for one in load_rules() if {"install", "compile"} >= set(one.phases)}
    if LOGS[name]["kind"] in known:
        before = "Collecting mmcv-full\n  Downloading mmcv-full-1.7.2.tar.gz (607 kB)\n"
    assert answer(before + LOGS[name]["log"]) == LOGS[name]["kind"]


def test_there_are_many_logs_and_nearly_every_rule_has_one() -> None:
    kinds = {one["kind"] for one in LOGS.values()} - {"unknown", "none"}
    rules = {one.id for one in load_rules()}
    assert len(LOGS) >= 400
    assert len(kinds) >= 150
    assert kinds <= rules
    assert len(rules - kinds) <= UNSEEN_RULES_AT_MOST, sorted(rules - kinds)


@pytest.mark.parametrize(
    "part",
    [
        *QUICK_PARTS,
        *(
            pytest.param(path.stem, marks=pytest.mark.full)
            for path in sorted(HELD_OUT.glob("*.toml"))
            if path.stem not in QUICK_PARTS
        ),
    ],
)
def test_held_out_logs_are_mostly_right_and_never_wrong(part: str) -> None:
    verdicts = list(judge(part=part))
    said = [f"{one.name}: {one.answered}, not {one.expected}" for one in verdicts if one.verdict != "right"]
    assert len(verdicts) >= 20
    assert len(said) <= 0.15 * len(verdicts), said
    assert not [one for one in verdicts if one.verdict == "wrong"], said
