"""Every rule against a message as it was really seen, in the threads that the rule names or in a tool's own source."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from admlops.doctor import PHASES, Phase, Site, diagnose, load_rules
from admlops.doctor.probes import ENOUGH_SHARED_MEMORY_BYTES, PROBES

MESSAGES = tomllib.loads(Path(__file__).with_name("messages.toml").read_text())
SIGNALS = {"bus-error": "SIGBUS", "illegal-instruction": "SIGILL"}


@pytest.mark.parametrize("rule", [one.id for one in load_rules() if one.symptom])
def test_the_message_that_was_seen_is_recognised(rule: str) -> None:
    seen = MESSAGES[rule]
    log = f"Traceback (most recent call last):\n{seen['said']}\nerror: command failed\n"
    found = diagnose(log, phases=[seen["phase"]], model="MapTR", site=Site(shared_memory=Path("/nowhere")))
    assert found is not None
    assert found.rule == rule
    assert seen["cause"] in found.cause
    assert seen["hint"] in found.hint
    assert "MODEL" not in found.hint
    assert found.evidence
    assert found.evidence in log


@pytest.mark.parametrize("rule", [one.id for one in load_rules() if one.signal])
def test_the_signal_that_ended_a_worker_is_recognised(rule: str) -> None:
    found = diagnose("the last words", phases=["start"], signal=SIGNALS[rule])
    assert found is not None
    assert found.rule == rule
    assert diagnose("the last words", phases=["start"], signal="SIGSEGV") is None


@pytest.mark.parametrize(
    "said",
    [
        "x.cpp:1: error: expected ';'",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (300x256 and 128x64)",
        "ModuleNotFoundError: it is said that there are no modules",
        "/x/torch/include/THC/THC.h: note: in included file\n[23/52] /usr/bin/g++ -c -fPIC nms.cpp -o nms.o\n",
        "UserWarning: The torchvision.datapoints is still Beta\n2 samples of numpy 1.26.4, mmcv 1.7.2",
    ],
)
def test_what_is_not_known_is_not_explained(said: str) -> None:
    assert diagnose(said) is None


def test_a_rule_counts_in_its_phases_alone() -> None:
    said = "ModuleNotFoundError: No module named 'shapely'"
    assert diagnose(said, phases=["compile"]) is None
    assert diagnose(said, phases=["start"]) is not None


def test_without_a_model_the_hint_keeps_its_place_for_one() -> None:
    found = diagnose("TypeError: FormatCode() got an unexpected keyword argument 'verify'")
    assert found is not None
    assert "repair MODEL" in found.hint


def test_every_rule_is_whole() -> None:
    rules = load_rules()
    assert len({rule.id for rule in rules}) == len(rules)
    assert set(get_args(Phase)) == set(PHASES) == {phase for rule in rules for phase in rule.phases}
    assert all(rule.hint and rule.cause for rule in rules)
    assert {rule.id for rule in rules} == set(MESSAGES) | set(SIGNALS)


# --- probes


def install(prefix: Path, **versions: str) -> Site:
    """A prefix in which these packages are installed, as their records say."""
    for name, version in versions.items():
        record = prefix / "lib" / "python3.8" / "site-packages" / f"{name}-{version}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return Site(prefix=prefix)


def test_a_version_that_is_wrong_is_named(tmp_path: Path) -> None:
    found = diagnose(MESSAGES["yapf-too-new"]["said"], site=install(tmp_path, yapf="0.43.0"))
    assert found is not None
    assert found.cause.endswith("(yapf 0.43.0 is installed)")


def test_a_version_that_is_right_refutes_the_rule(tmp_path: Path) -> None:
    assert diagnose(MESSAGES["yapf-too-new"]["said"], site=install(tmp_path, yapf="0.40.1")) is None


def test_which_mmcv_is_there_decides_between_two_rules(tmp_path: Path) -> None:
    said = "ModuleNotFoundError: No module named 'mmcv._ext'"
    lite = diagnose(said, site=install(tmp_path / "lite", mmcv="1.7.2"))
    full = diagnose(said, site=install(tmp_path / "full", mmcv_full="1.7.2"))
    assert lite is not None
    assert full is not None
    assert (lite.rule, full.rule) == ("lite-mmcv", "mmcv-without-operations")
    assert "mmcv 1.7.2 is installed" in lite.cause


def test_shared_memory_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = MESSAGES["shared-memory-full"]["said"]
    sizes = iter([64_000_000, ENOUGH_SHARED_MEMORY_BYTES])
    monkeypatch.setattr("admlops.doctor.probes.shutil.disk_usage", lambda _: type("Usage", (), {"total": next(sizes)}))
    small, large = (diagnose(said, site=Site(shared_memory=tmp_path)) for _ in range(2))
    assert small is not None
    assert "it has 64 MB" in small.cause
    assert large is None


def test_every_probe_is_used() -> None:
    assert {rule.probe for rule in load_rules()} - {None} == set(PROBES)
