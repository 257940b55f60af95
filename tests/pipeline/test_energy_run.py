"""A real run on a GPU whose driver's library counts energy: 50 W while time passes, and 7 J for each sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.pipeline.pods import ADAPTER, NVML, Pod

from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.energy.report import summarize_energy
from admlops.evaluation.energy.windows import read_lines
from admlops.health.rapl import Rapl
from admlops.health.telemetry import TelemetrySampler

IDLE_W, SAMPLE_J = 50.0, 7.0

COUNTING = f'''

import time
from pathlib import Path

_WORK = Path(__file__).parents[1] / "work"


def nvmlDeviceGetTotalEnergyConsumption(handle):
    """Millijoules: what time costs, and what each sample of the adapter does."""
    samples = _WORK.stat().st_size if _WORK.exists() else 0
    return int(1e9 + 1e3 * ({IDLE_W} * time.monotonic() + {SAMPLE_J} * samples))
'''


@pytest.fixture
def pod(tmp_path: Path, synthetic_data: NuScenes) -> Pod:
    """A machine with two GPUs that count; the adapter leaves a byte for each sample when it is done with it."""
    pod = Pod.make(tmp_path / "pod", data=synthetic_data.root, gpus=("NVIDIA H200", "NVIDIA H200"))
    (pod.folder / "nvml" / "pynvml.py").write_text(NVML + COUNTING)
    done = "        self.history = hashlib.sha256(self.history.encode() + image).hexdigest()\n"
    assert done in ADAPTER
    work = f"        with open({str(pod.folder / 'work')!r}, 'ab') as file:\n            file.write(b'.')\n"
    (pod.folder / "checkout" / "envs" / "Chain" / "demo.py").write_text(ADAPTER.replace(done, done + work))
    return pod


def test_a_known_counter_gives_the_known_joules(pod: Pod) -> None:
    pause = (
        ("--option", "pause=0.3") if "[options" in (pod.folder / "checkout/envs/Chain/model.toml").read_text() else ()
    )
    ran = pod.type("run", "Chain", "--data", pod.folder / "data", "--run", "one", "--device", "cuda:0", *pause)
    assert ran.returncode == 0, ran.stderr
    lines = read_lines(pod.run("one").telemetry_path)
    phases = list(dict.fromkeys(one["phase"] for one in lines))
    assert phases == ["idle", "start", "measure", "end"]
    assert [gpu["used"] for gpu in lines[0]["gpus"]] == [True, False]
    energy = summarize_energy(lines, on_gpu=True)
    shape = energy.to_json()
    assert (shape["method"], shape["basis"], shape["windows"]) == ("nvml_counter", "net of idle", 1)
    assert shape["idle_w"] == pytest.approx(IDLE_W, rel=0.01)
    assert shape["samples"] == 7
    assert shape["j_per_sample"] == pytest.approx(SAMPLE_J, rel=0.05)
    assert shape["gross_j"] == pytest.approx(IDLE_W * shape["window_s"] + SAMPLE_J * 7, rel=0.01)


def test_a_machine_without_counters_does_not_wait_for_idle_power(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    with TelemetrySampler(path, worker_pids=lambda: (), used=(), powercap=tmp_path) as sampler:
        assert not sampler.can_measure_energy
        sampler.measure_idle(60)
        sampler.count(1)
        sampler.count(1)
        sampler.enter("end")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["phase"], one["samples"]) for one in lines] == [("measure", 1), ("end", 2)]
    assert summarize_energy(lines, on_gpu=False).method is None


def write_zone(folder: Path, name: str, energy_uj: int, largest: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", largest)):
        (folder / file).write_text(f"{content}\n")


def test_the_processors_counters_are_read_and_wrap_around(tmp_path: Path) -> None:
    """A package, memory below it, a core below it that it holds already; the package's counter wraps around."""
    caps, path = tmp_path / "powercap", tmp_path / "telemetry.jsonl"
    package, memory = caps / "intel-rapl:0", caps / "intel-rapl:0:1"
    write_zone(package, "package-0", 99_000_000, 100_000_000)
    write_zone(memory, "dram", 5_000_000, 100_000_000)
    write_zone(caps / "intel-rapl:0:0", "core", 1, 100_000_000)
    (caps / "intel-rapl").mkdir()
    assert [zone.zone for zone in Rapl(caps).read()] == ["package-0", "package-0 dram"]
    with TelemetrySampler(path, worker_pids=lambda: (), used=(), interval_s=60, powercap=caps) as sampler:
        sampler.measure_idle(0.05)
        sampler.count(1)
        write_zone(package, "package-0", 4_000_000, 100_000_000)
        write_zone(memory, "dram", 8_000_000, 100_000_000)
        sampler.count(10)
        sampler.enter("end")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["t"] = lines[-2]["t"] + 40  # as if the window had been long
    energy = summarize_energy(lines, on_gpu=False)
    assert energy.method == "rapl"
    assert energy.gross_j == pytest.approx(5.0 + 3.0)
    assert energy.idle_w == 0.0
    assert energy.to_json()["j_per_sample"] == pytest.approx(0.8)


def test_an_estimate_is_asked_for_by_name_and_never_taken_for_a_measurement(pod: Pod) -> None:
    refused = pod.type("run", "Chain", "--data", pod.folder / "data", "--estimate-energy", "--device", "cpu")
    if refused.returncode == 0:
        lines = read_lines(next((pod.folder / "repository" / "runs").glob("*/telemetry.jsonl")))
        energy = summarize_energy(lines, on_gpu=False)
        assert energy.method is None or energy.method.startswith(("rapl", "estimate:codecarbon"))
        return
    assert refused.returncode == 2
    assert "--estimate-energy needs codecarbon, which is not installed" in refused.stderr
    assert not (pod.folder / "repository" / "runs").exists()
