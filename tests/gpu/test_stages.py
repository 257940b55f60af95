"""The stages on a CPU, in MapTR's environment; and the runner's limits, with stages of a few lines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.gpu import pack
from tests.models.both_ways import find_environment

from admlops.core.paths import find_layout
from admlops.core.processes import process_environment
from admlops.evaluation.latency.summary import samples_needed

HERE = Path(__file__).parent


def run(out: Path, scenes: Path, *options: str, program: Path = HERE / "run_stages.py") -> dict[str, Any]:
    """What `run.json` says; the exit code is 1 exactly where a stage failed or was too slow."""
    command: list[str | Path] = [
        sys.executable,
        program,
        "--out",
        out,
        "--scenes",
        scenes,
        "--device",
        "cpu",
        "--tiny",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    bad = [name for name, stage in found["stages"].items() if stage["status"] in ("failed", "timed out")]
    assert (done.returncode == 1) == bool(bad), done.stderr
    return found


def test_without_torch_or_sources_every_stage_says_why_it_is_skipped(tmp_path: Path) -> None:
    """This Python has no torch; the first stage says what is here all the same."""
    found = run(tmp_path / "out", tmp_path, "--models", "NoSuchNetwork")["stages"]
    assert {name: stage["status"] for name, stage in found.items()} == {
        "stage_0_machine": "done",
        **dict.fromkeys(
            (
                "stage_1_compile",
                "stage_2_operations",
                "stage_3_outputs",
                "stage_4_latency",
                "stage_5_reading",
                "stage_6_engines",
                "stage_7_lidar",
                "stage_8_mmcv2",
                "stage_9_graphs",
            ),
            "skipped",
        ),
    }
    assert all(stage["reason"] for name, stage in found.items() if name != "stage_0_machine")
    assert "admlops sources fetch NoSuchNetwork" in found["stage_3_outputs"]["reason"]
    machine = json.loads((tmp_path / "out" / "stage_0_machine.json").read_text())
    assert machine["results"]["cores"] >= 1
    assert len(list((tmp_path / "out").glob("*.json"))) == 11


def fabricate(folder: Path, stages: dict[str, tuple[float, float, str]]) -> Path:
    """A runner with stages of our own: name → (limit, least, code)."""
    folder.mkdir()
    source = (HERE / "run_stages.py").read_text()
    begin, end = source.index("STAGES = ("), source.index("def main")
    listed = "".join(f"    Stage({name!r}, {limit}, {least}),\n" for name, (limit, least, _) in stages.items())
    (folder / "run_stages.py").write_text(f"{source[:begin]}STAGES = (\n{listed})\n\n\n{source[end:]}")
    (folder / "reporting.py").write_text((HERE / "reporting.py").read_text())
    for name, (_, _, code) in stages.items():
        text = f"from reporting import run_stage\nimport subprocess, sys, time\ndef work(report):\n    {code}\n"
        (folder / f"{name}.py").write_text(f"{text}sys.exit(run_stage({name!r}, work))\n")
    return folder / "run_stages.py"


def test_a_stage_has_its_limit_and_the_whole_has_one(tmp_path: Path) -> None:
    slow = "report.add('first', 1); subprocess.Popen(['sleep', '987']); time.sleep(60)"
    program = fabricate(
        tmp_path / "stages",
        {
            "stage_0_quick": (30, 1, "report.add('answer', 42)"),
            "stage_1_slow": (4, 1, slow),
            "stage_2_broken": (30, 1, "raise ValueError('no such card')"),
            "stage_3_dead": (30, 1, "import os; print('last words', flush=True); os._exit(7)"),
            "stage_4_long": (30, 500, "report.add('never', 1)"),
        },
    )
    began = time.monotonic()
    found = run(tmp_path / "out", tmp_path, "--budget-s", "120", program=program)["stages"]
    assert time.monotonic() - began < 110
    states = {name.split("_")[2]: stage["status"] for name, stage in found.items()}
    assert states == {
        "quick": "done",
        "slow": "timed out",
        "broken": "failed",
        "dead": "failed",
        "long": "not started",
    }
    slow_file = json.loads((tmp_path / "out" / "stage_1_slow.json").read_text())
    assert (slow_file["status"], slow_file["results"]) == ("timed out", {"first": 1})
    assert "ValueError: no such card" in found["stage_2_broken"]["reason"]
    assert "exit code 7" in found["stage_3_dead"]["reason"]
    assert "last words" in found["stage_3_dead"]["reason"]
    assert "it needs 500 s" in found["stage_4_long"]["reason"]
    left = subprocess.run(["pgrep", "-f", "^sleep 987$"], capture_output=True, text=True, check=False)
    assert left.stdout == "", "what a stage starts is ended with it"


def test_the_kernel_attention_is_renamed_as_the_patch_for_environments_does() -> None:
    patch = (HERE.parent / "environments" / "geometric_kernel_attention.patch").read_text().splitlines()
    old = [line[1:] for line in patch if line.startswith("-") and not line.startswith("---")]
    new = [line[1:] for line in patch if line.startswith("+") and not line.startswith("+++")]
    program = f"import sys; sys.path.insert(0, {str(HERE)!r}); import stage_1_compile as stage; "
    program += f"print([stage.rename(line, stage.TORCH_2) for line in {old!r}] == {new!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert old
    assert done.stdout == "True\n"


def test_percentiles_need_what_the_protocol_says() -> None:
    line = next(line for line in (HERE / "measuring.py").read_text().splitlines() if line.startswith("NEEDED = "))
    needed = json.loads(line.removeprefix("NEEDED = ").replace("{", '{"').replace(": ", '": ').replace(", ", ', "'))
    assert needed == {str(round(100 * p)): samples_needed(p) for p in (0.5, 0.9, 0.99)}


def test_the_pack_holds_code_and_scenes_and_no_pictures_of_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "submodules" / "Net"
    for name in ("projects/net.py", "projects/kernel.cu", "figs/drive.png", "docs/a.py", "projects/big.py"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"#" * (700_000 if "big" in name else 10))
    kept = [path.relative_to(source).as_posix() for path in pack.list_files(source)]
    assert kept == ["projects/big.py", "projects/kernel.cu", "projects/net.py"]
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (scenes / "scenes.json").write_text("{}")
    archives = []
    for name in ("one.tar.xz", "two.tar.xz"):
        pack.write_code(find_layout(), tmp_path / name, [(source, "submodules/Net")], scenes)
        archives.append((tmp_path / name).read_bytes())
    assert archives[0] == archives[1], "equal content is an equal archive"
    listed = subprocess.run(["tar", "-tJf", tmp_path / "one.tar.xz"], capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert {"submodules/Net/projects/kernel.cu", "scenes/scenes.json", "runners/worker/smoke.py"} <= set(names)
    assert "submodules/Net/projects/big.py" not in names
    assert not [name for name in names if name.endswith((".png", ".pyc", ".pth"))]


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_every_stage_runs_on_a_cpu(tmp_path: Path) -> None:
    environment = find_environment("MapTR", "modern")
    pack.make_scenes(tmp_path / "scenes")
    out = tmp_path / "out"
    command: list[str | Path] = [
        environment.python,
        HERE / "run_stages.py",
        "--out",
        out,
        "--scenes",
        tmp_path / "scenes",
    ]
    options = ["--device", "cpu", "--tiny", "--models", "MapTR,VAD", "--budget-s", "2400", "--patience", "8"]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
        env=process_environment(environment.variables),
    )
    stages = json.loads((out / "run.json").read_text())["stages"]
    results = {name: json.loads((out / f"{name}.json").read_text())["results"] for name in stages}
    assert done.returncode == 0, (stages, (out / "log.txt").read_text()[-3000:])
    states = {name: stage["status"] for name, stage in stages.items()}
    assert states.pop("stage_6_engines") == states.pop("stage_8_mmcv2") == "skipped"
    assert set(states.values()) == {"done"}
    assert results["stage_1_compile"]["mmcv_full"]["ok"] is True
    assert all(check["ok"] for check in results["stage_2_operations"]["checks"])
    outputs = results["stage_3_outputs"]["MapTR"]["float32"]["outputs"]
    assert len(outputs) > 3
    assert all(one["difference"] < 1e-4 and one["largest"] > 0 for one in outputs.values() if one["largest"])
    latency = results["stage_4_latency"]["MapTR"]
    assert latency["float32"]["n"] >= 1
    assert latency["float32"]["p50_ms"] is None, "too few for a percentile"
    assert latency["cuda_graph"] == {"skipped": "CUDA graphs are a GPU's"}
    assert all(found["ok"] for found in results["stage_7_lidar"].values())
    graphs = results["stage_9_graphs"]["MapTR"]
    assert graphs["parts"] == {"img_backbone": "replayed", "img_neck": "replayed"}
    assert graphs["ratio"] > 0
    assert all(one["difference"] == 0 for one in graphs["outputs"].values()), "replayed are the outputs without graphs"
    assert results["stage_5_reading"]["MapTR"]["processes"]["1"] > 0
    assert "skipped" in results["stage_3_outputs"]["VAD"] or "float32" in results["stage_3_outputs"]["VAD"]
