"""The rules themselves: whole, quick on hostile lines, of their phases; and what is asked of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from admlops.doctor import PHASES, Phase, Site, diagnose, explain, load_rules
from admlops.doctor.log import clean
from admlops.doctor.match import Matcher
from admlops.doctor.probes import ENOUGH_SHARED_MEMORY_BYTES, PROBES
from admlops.doctor.rules import Rule, compile_pattern

BUS_ERROR = "RuntimeError: DataLoader worker (pid 4161) is killed by signal: Bus error. Please try to raise your limit."
YAPF = "TypeError: FormatCode() got an unexpected keyword argument 'verify'"


def test_every_rule_is_whole() -> None:
    rules = load_rules()
    assert len({rule.id for rule in rules}) >= 150
    assert set(get_args(Phase)) == set(PHASES) == {phase for rule in rules for phase in rule.phases}
    assert all(rule.hint and rule.cause for rule in rules)
    assert {rule.probe for rule in rules} - {None} == set(PROBES)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "exactly one of says and signal"),
        ({"says": "x", "probe": "horoscope"}, "no probe"),
        ({"says": "x", "probe": "version"}, "go together"),
    ],
)
def test_a_rule_that_is_not_whole_is_refused(wrong: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Rule(id="x", phases=("run",), cause="c", hint="h", **wrong)  # type: ignore[arg-type]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "hostile",
    [
        "A" * 2_000,
        "error: " + "/a" * 1_000,
        "undefined symbol: " + "_ZN" * 600,
        " " * 1_999 + "x",
        "No such file or directory: '" + "nuscenes_" * 200,
        "RuntimeError: " + "a.b:" * 450,
        "File " + '"x", line 1 ' * 150,
        "cannot import name '" + "x" * 1_900,
        "\t\u2502 " * 600,
        "(" * 1_000 + ")" * 900,
        "[rank0]: " * 200,
        "KeyError: '" + "_ext_" * 380,
    ],
)
def test_no_expression_runs_away(hostile: str) -> None:
    text = "\n".join(["Traceback (most recent call last):", '  File "a.py", line 1, in f', *([hostile] * 20)])
    explain(clean(text))
    matcher = Matcher(load_rules(), [hostile], phases=None, site=None)
    assert len(matcher.known) == 1
    for rule in load_rules():
        others = (rule.raised_pattern, rule.context_pattern, rule.within_pattern, rule.unless_pattern)
        for pattern in (rule.says_pattern, *others):
            if pattern is not None:
                pattern.search(hostile)


def test_a_space_in_an_expression_is_any_white_space() -> None:
    assert compile_pattern("No module named 'x'").search("No module named\n  'x'")
    assert compile_pattern(r"\.so: ?undefined").search("a.so:undefined")


def test_a_rule_counts_in_its_phases_alone() -> None:
    said = "ModuleNotFoundError: No module named 'shapely'"
    assert diagnose(said, phases=["compile"]) is None
    assert diagnose(said, phases=["start"]) is not None


@pytest.mark.parametrize(
    "said", ["OSError: [Errno 28] No space left on device", "OSError: [Errno 122] Disk quota exceeded"]
)
def test_a_full_disk_is_that_of_what_was_being_written(said: str) -> None:
    """Environments have a folder of their own; what runs and exports write lies in the repository folder."""
    for phase, variable in (("install", "ENVIRONMENTS"), ("compile", "ENVIRONMENTS"), ("run", "REP_PATH")):
        found = diagnose(said, phases=[phase])  # type: ignore[list-item]
        assert found is not None
        assert f"export ADMLOPS_{variable}=" in found.hint


def test_a_network_file_that_does_not_serve_has_commands_that_bring_another() -> None:
    for said, command in (
        (
            "InvalidProtobuf: Load model from c.onnx failed:Protobuf parsing failed.",
            "export CalibrationStatus --to onnx",
        ),
        (
            "Fail: Load model from c.onnx failed: ModelProto does not have a graph.",
            "export CalibrationStatus --to onnx",
        ),
        (
            "NetworkError: c.onnx lacks the input channels: it is no export of this model's network",
            "exported list CalibrationStatus",
        ),
    ):
        found = diagnose(said, phases=["run"], model="CalibrationStatus")
        assert found is not None
        assert found.hint.startswith(f"admlops {command}")


def test_the_signal_counts_where_words_tell_nothing() -> None:
    for signal, rule in {"SIGBUS": "bus-error", "SIGILL": "illegal-instruction"}.items():
        found = diagnose("the last words", phases=["start"], signal=signal)
        assert found is not None
        assert found.rule == rule
        assert found.evidence == ()
    assert diagnose("the last words", phases=["start"], signal="SIGSEGV") is None
    assert diagnose(YAPF, phases=["start"], signal="SIGBUS").rule == "yapf-too-new"  # type: ignore[union-attr]


def test_a_hint_stays_true_without_a_model() -> None:
    found = diagnose(YAPF)
    assert found is not None
    assert found.hint.startswith("admlops env repair MODEL")
    assert found.hint.endswith("MODEL: a name from `admlops env list`")
    assert diagnose(YAPF, model="VAD").hint.startswith("admlops env repair VAD ")  # type: ignore[union-attr]


def test_the_model_is_known_by_its_environment() -> None:
    frame = (
        '  File "/root/environments/StreamPETR-modern-0123456789ab/lib/python3.11/site-packages/mmcv/config.py", line 5'
    )
    found = diagnose(f"{frame}\n{YAPF}")
    assert found is not None
    assert found.hint.startswith("admlops env repair StreamPETR ")


# --- what is asked of an environment or the machine


def install(prefix: Path, **versions: str) -> Site:
    """A prefix in which these packages are installed, as their records say."""
    for name, version in versions.items():
        record = prefix / "lib" / "python3.8" / "site-packages" / f"{name}-{version}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return Site(prefix=prefix)


def test_a_version_that_is_wrong_is_named(tmp_path: Path) -> None:
    found = diagnose(YAPF, site=install(tmp_path, yapf="0.43.0"))
    assert found is not None
    assert found.cause.endswith("(yapf 0.43.0 is installed)")


def test_a_version_that_is_right_refutes_the_rule(tmp_path: Path) -> None:
    assert diagnose(YAPF, site=install(tmp_path, yapf="0.40.1")) is None


def test_which_mmcv_is_there_decides_between_two_rules(tmp_path: Path) -> None:
    said = "ModuleNotFoundError: No module named 'mmcv._ext'"
    lite = diagnose(said, site=install(tmp_path / "lite", mmcv="1.7.2"))
    full = diagnose(said, site=install(tmp_path / "full", mmcv_full="1.7.2"))
    assert lite is not None
    assert full is not None
    assert (lite.rule, full.rule) == ("lite-mmcv", "mmcv-without-operations")
    assert "mmcv 1.7.2 is installed" in lite.cause


def test_shared_memory_is_measured_here_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = iter([64_000_000, ENOUGH_SHARED_MEMORY_BYTES])
    monkeypatch.setattr("admlops.doctor.probes.shutil.disk_usage", lambda _: type("Usage", (), {"total": next(sizes)}))
    small, large = (diagnose(BUS_ERROR, site=Site(shared_memory=tmp_path)) for _ in range(2))
    assert small is not None
    assert "it has 64 MB" in small.cause
    assert large is None
    elsewhere = diagnose(BUS_ERROR)  # would ask a third time
    assert elsewhere is not None
    assert elsewhere.rule == "shared-memory-full"
