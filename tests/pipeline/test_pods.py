"""Runs across machines: every visible GPU works, and a run goes on on another pod with the same records."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.pipeline.pods import Pod

from admlops.results.run_folder import RunFolder, records_digest

H200 = "NVIDIA H200"


@pytest.fixture
def pod(tmp_path: Path, synthetic_root: Path) -> Pod:
    return Pod.make(tmp_path / "pod", data=synthetic_root, gpus=(H200, H200))


def loads(run: RunFolder) -> dict[int, str]:
    """Worker → the device that its load frame named: the stand-in has no torch, so `ready` gives it back."""
    return {event["worker"]: event["device_name"] for event in run.events() if event["event"] == "worker_ready"}


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def wait_for(path: Path, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_every_visible_gpu_gets_its_own_worker(pod: Pod) -> None:
    done = pod.type("run", "Chain", "--data", pod.folder / "data", "--run", "both")
    assert done.returncode == 0, done.stderr
    assert loads(pod.run("both")) == {0: "cuda:0", 1: "cuda:1"}
    header = pod.run("both").header
    assert header.device
    assert (header.device.kind, header.device.name, header.device.ids) == ("cuda", H200, ["cuda:0", "cuda:1"])
    assert (header.runtime, header.coverage) == ("torch", "8 of 8 samples of split mini_val")

    words = ("run", "Chain", "--data", pod.folder / "data", "--run", "one", "--gpu-memory-limit", "80%")
    chosen = pod.type(*words, CUDA_VISIBLE_DEVICES="GPU-00000001")
    assert chosen.returncode == 0, chosen.stderr
    assert set(loads(pod.run("one")).values()) == {"cuda:0"}
    assert pod.run("one").header.settings["gpu_memory_limit_mb"] == 64000
    assert records_digest(pod.run("one")) == records_digest(pod.run("both"))

    none = pod.type("run", "Chain", "--data", pod.folder / "data", "--run", "none", CUDA_VISIBLE_DEVICES="")
    assert none.returncode == 0, none.stderr
    assert pod.run("none").header.device_kind == "cpu"


@pytest.mark.full
def test_a_run_says_which_card_it_took_out_and_why(pod: Pod) -> None:
    adapter = pod.folder / "checkout" / "envs" / "Chain" / "demo.py"
    fails = """
        if settings.device == "cuda:1":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
"""
    begun = '        print("device", settings.device, flush=True)'
    adapter.write_text(adapter.read_text().replace(begun, begun + fails))
    done = pod.type("run", "Chain", "--data", pod.folder / "data", "--run", "mixed", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (lost,) = told["lost_devices"]
    assert (told["ok"], lost["devices"], lost["class"], lost["workers"]) == (8, ["cuda:1"], "arch", [1])
    assert "worker 1: its device is out of the run (arch): RuntimeError: CUDA error: no kernel" in done.stderr
    shown = pod.type("results", "show", "mixed").stdout
    assert re.search(r"lost +cuda:1 \(NVIDIA H200\), .* UTC \(arch\): .*\n +→ ", shown), shown
    page = pod.type("report", "mixed")
    assert page.returncode == 0, page.stderr
    assert "lost on the way" in (pod.run("mixed").path / "report.html").read_text()


def test_a_run_goes_on_on_another_pod(tmp_path: Path, pod: Pod, synthetic_root: Path) -> None:
    """Another path of checkout, data and repository, another GPU of the same model, the same files elsewhere."""
    there = Pod.make(tmp_path / "elsewhere" / "pod", data=synthetic_root, gpus=(H200, H200))
    whole = Pod.make(tmp_path / "third", data=synthetic_root, gpus=(H200,))
    for one in (pod, there, whole):
        (one.folder / "config.py").write_text("rate = 1\n")

    def words(one: Pod, name: str, device: str) -> tuple[str | Path, ...]:
        options = ("--data", one.folder / "data", "--config", one.folder / "config.py", "--device", device)
        return ("run", "Chain", *options, "--option", "pause=0.3", "--run", name)

    begun = subprocess.Popen(
        pod.command(*words(pod, "r", "cuda:0")), env=pod.variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    wait_for(pod.folder / "repository" / "runs" / "r" / "records" / "scene-0103.jsonl")
    begun.send_signal(signal.SIGINT)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 130, said
    assert pod.run("r").complete_scenes() == ["scene-0103"]
    there.take_over(pod, "r")

    refused(
        Pod(folder=there.folder, gpus=("NVIDIA A100",)).type(*words(there, "r", "cuda:0"), "--resume"),
        f"device was '{H200}' and is 'NVIDIA A100' now",
        "a GPU of its model",
    )
    (there.folder / "config.py").write_text("rate = 2\n")
    refused(there.type(*words(there, "r", "cuda:1"), "--resume"), "the content of", "config.py")
    (there.folder / "config.py").write_text("rate = 1\n")

    resumed = there.type(*words(there, "r", "cuda:1"), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert there.run("r").header.data.root == str(there.folder / "data")
    assert whole.type(*words(whole, "r", "cuda:0")).returncode == 0
    assert records_digest(there.run("r")) == records_digest(whole.run("r"))


def test_a_killed_run_is_shown_as_stopped(pod: Pod) -> None:
    words = ("run", "Chain", "--data", pod.folder / "data", "--device", "cpu", "--option", "pause=0.3", "--run", "k")
    host = subprocess.Popen(pod.command(*words), env=pod.variables, stderr=subprocess.DEVNULL)
    wait_for(pod.folder / "repository" / "runs" / "k" / "records" / "scene-0103.jsonl")
    host.send_signal(signal.SIGSTOP)  # it holds the lock and gets no further while we look
    assert " running " in pod.type("results", "list").stdout
    host.kill()
    host.wait()
    shown = pod.type("results", "list").stdout
    assert " stopped " in shown
    assert " 4/8 " in shown
    assert "--run k --resume" in pod.type("results", "show", "k").stdout


@pytest.mark.full
def test_failed_samples_are_done_again(pod: Pod) -> None:
    command = ("run", "Chain", "--data", pod.folder / "data", "--device", "cpu", "--run", "r")
    image = max((pod.folder / "data" / "samples" / "CAM_FRONT").glob("*scene-0916*"))
    kept = image.with_suffix(".kept")
    image.rename(kept)
    refused(pod.type(*command), "1 of 8 samples failed", f"{image.name} is missing", "--run r --retry-failed")
    other = pod.run("r").records_path / "scene-0103.jsonl"
    before = (other.read_bytes(), other.stat().st_mtime_ns)
    again = pod.type(*command, "--resume")
    refused(again, "1 of 8 samples failed", "--retry-failed")
    assert re.search(r" 8/8 +1 ", pod.type("results", "list").stdout)

    kept.rename(image)
    done = pod.type(*command, "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert (other.read_bytes(), other.stat().st_mtime_ns) == before
    fresh = pod.type(*command[:-1], "fresh")
    assert fresh.returncode == 0
    assert records_digest(pod.run("r")) == records_digest(pod.run("fresh"))


def test_a_temporal_model_runs_no_scene_with_holes(pod: Pod, synthetic_root: Path) -> None:
    from admlops.datasets.nuscenes.tables import NuScenes

    scene = NuScenes(synthetic_root, "v1.0-mini").scenes()[0]
    tokens = pod.folder / "tokens.txt"
    tokens.write_text(f"{scene.samples[1]}\n{scene.samples[3]}\n")
    command = ("run", "Chain", "--data", pod.folder / "data", "--device", "cpu", "--tokens", tokens)
    refused(pod.type(*command, "--run", "holes"), "2 of 4 samples", scene.name, "--complete-scenes")
    assert not (pod.folder / "repository" / "runs" / "holes").exists()
    done = pod.type(*command, "--complete-scenes", "--run", "whole")
    assert done.returncode == 0, done.stderr
    assert len(list(pod.run("whole").records())) == 4

    tokens.write_text("\n".join(scene.samples[:2]))
    assert pod.type(*command, "--run", "first").returncode == 0, "a scene's beginning has no hole"


def test_a_class_that_the_model_does_not_have_fails_its_samples(pod: Pod) -> None:
    command = ("run", "Chain", "--data", pod.folder / "data", "--device", "cpu", "--option", "name=cars", "--run", "r")
    done = pod.type(*command)
    assert done.returncode == 1, done.stderr
    assert "outputs.detections_3d[0] has the class 'cars'" in done.stderr
    assert "1 of them failed in a scene that was not finished" in done.stderr
    shown = pod.type("results", "show", "r").stdout
    assert "Chain (modern), failed: outputs.detections_3d[0] has the class 'cars'" in shown


EXTENSION = '''
from admlops.execution.executors import EXECUTORS
from admlops.execution.executors.local import LocalExecutor


class Reversed(LocalExecutor):
    """The slots of this machine, the last one first."""

    def slots(self):
        return tuple(reversed(super().slots()))


EXECUTORS.register("reversed", Reversed)
'''


def test_an_installed_extension_brings_its_executor(pod: Pod) -> None:
    site = pod.folder / "nvml"  # it is on the host's path
    (site / "own_extension.py").write_text(EXTENSION)
    (site / "own_extension-1.0.dist-info").mkdir()
    (site / "own_extension-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: own-extension\nVersion: 1.0\n"
    )
    (site / "own_extension-1.0.dist-info" / "entry_points.txt").write_text(
        "[admlops.extensions]\nown = own_extension\n"
    )
    command = ("run", "Chain", "--data", pod.folder / "data", "--executor")
    done = pod.type(*command, "reversed", "--run", "r")
    assert done.returncode == 0, done.stderr
    assert set(loads(pod.run("r"))) == {0, 1}
    assert pod.run("r").header.options["executor"] == "reversed"
    refused(pod.type(*command, "revers", "--run", "no"), "there is no executor 'revers'; did you mean reversed?")
