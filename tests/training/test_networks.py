"""Real networks: `admlops train` against the authors' own loop, killed and resumed; the loader it resumes with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, find_environment

from admlops.catalog import load_model
from admlops.core.processes import process_environment
from admlops.environments import Environment, find_model
from admlops.synthetic.images_writer import ImageOptions, synthesize_images

HERE = Path(__file__).parent
ITERATIONS = 3
TOLERANCE = 1e-3
"""The largest relative difference of losses and norms of gradients."""
OWN_OPTIONS: Mapping[str, Sequence[str]] = {
    "StreamPETR": (
        "model.pts_bbox_head.transformer.decoder.transformerlayers.attn_cfgs.1.type=PETRMultiheadAttention",
        "model.img_backbone.init_cfg=None",
        "optimizer_config._delete_=True",
        "optimizer_config.grad_clip.max_norm=35",
        "optimizer_config.grad_clip.norm_type=2",
        f"runner.max_iters={ITERATIONS}",
    ),
    "MapTR": ("model.pretrained=None", "fp16=None", "runner.max_epochs=1", "total_epochs=1"),
}
"""What the authors' configuration needs to train on a CPU without first weights; the smoke settings come on top."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of three key frames, of which one is mini_train's."""
    from admlops.synthetic import SynthesisOptions, synthesize

    root = tmp_path_factory.mktemp("scenes") / "data"
    synthesize(root, SynthesisOptions(scenes=3, samples=4))
    return root


def read_log(folder: Path) -> dict[int, dict[str, Any]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return {line["iteration"]: line for line in lines if line["kind"] == "iteration"}


def read_upstream_log(work: Path) -> dict[int, Any]:
    """The whole lines of iterations so far: the last may be half there, and the first ones say what machine it is."""
    texts = [text for file in work.glob("*.log.json") for text in file.read_text().splitlines(keepends=True)]
    lines = [json.loads(text) for text in texts if text.endswith("}\n")]
    return {line["iter"]: line for line in lines if line.get("mode") == "train"}


def run_upstream(environment: Environment, model: str, data: Mapping[str, Any], work: Path) -> dict[int, Any]:
    """The authors' loop over the same info file; returns its log by iteration."""
    described = load_model(LAYOUT, model)
    training = described.training
    assert training is not None
    assert training.config is not None or described.default_checkpoint is not None
    config = training.config or described.checkpoints[str(described.default_checkpoint)].config
    assert training.learning_rate is not None
    rate = training.learning_rate / (training.total_batch or 1)
    options = [f"{key}={json.dumps(value).replace(' ', '')}" for key, value in training.smoke.items()]
    options += [f"data.train.ann_file={data['train']}", f"data.train.data_root={data['root']}/"]
    options += ["data.samples_per_gpu=1", f"optimizer.lr={rate}", "optimizer_config.type=OptimizerHook"]
    options += ["checkpoint_config.interval=100", "log_config.interval=1", "log_config.hooks.1.type=TextLoggerHook"]
    asked = {
        "folder": str(described.folder),
        "adapter": model,
        "config": described.configs[config],
        "options": [*options, *OWN_OPTIONS[model]],
        "work": str(work),
        "seed": 0,
    }
    work.mkdir()
    said = work / "said.txt"  # no pipe: the authors' loop says more than one holds, and nobody reads it meanwhile
    with said.open("w") as file:
        process = subprocess.Popen(
            [environment.python, HERE / "upstream_loop.py", json.dumps(asked)],
            cwd=LAYOUT.submodules / (described.source.folder or model),
            env=process_environment(environment.variables),
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    found: dict[int, Any] = {}
    try:
        while process.poll() is None and len(found) < ITERATIONS:
            time.sleep(0.5)
            found = read_upstream_log(work)
    finally:
        process.kill()
        process.wait()
    assert len(found) >= ITERATIONS, said.read_text()[-2000:]
    return found


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", ["StreamPETR", "MapTR"])
def test_it_trains_as_the_authors_do_and_goes_on_where_it_was_killed(
    model: str, scenes: Path, admlops: Admlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = find_environment(model, "modern")
    trainings = tmp_path / "repository" / "trainings"
    asked = ("train", model, "--smoke", "--data", scenes, "--iterations", str(ITERATIONS))
    admlops(*asked, "--name", "whole", timeout_s=1700)
    ours = read_log(trainings / "whole")
    infos = next((tmp_path / "repository" / "infos").glob(f"{model}-*/ready.json"))
    data = {**json.loads(infos.read_text()), "root": infos.parent}
    theirs = run_upstream(environment, model, data, tmp_path / "upstream")
    for number in range(1, ITERATIONS + 1):
        for what in ("loss", "grad_norm"):
            assert ours[number][what] == pytest.approx(theirs[number][what], rel=TOLERANCE)

    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    command = [sys.executable, "-m", "admlops", *map(str, asked), "--name", "killed", "--checkpoint-every", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = trainings / "killed" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"checkpoint"') > 1):
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    admlops("train", model, "--resume", "killed", timeout_s=1700)
    again = read_log(trainings / "killed")
    assert {number: line["loss"] for number, line in again.items()} == {
        number: line["loss"] for number, line in ours.items()
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with boxes, a fifth of which is held out."""
    root = tmp_path_factory.mktemp("pictures") / "data"
    synthesize_images(root, ImageOptions(scenes=1, samples=2, scale=0.25))
    return root


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", ["FasterRCNN", "Detectron2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_detector_in_pictures_goes_on_where_it_was_ended(
    model: str,
    number: signal.Signals,
    pictures: Path,
    admlops: Admlops,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Passes are of two or three iterations, so that it ends at and within one."""
    find_environment(model, "modern")
    trainings = tmp_path / "repository" / "trainings"
    asked = ("train", model, "--smoke", "--data", pictures, "--iterations", "5", "--batch", "4", "--seed", "3")
    admlops(*asked, "--name", "whole", timeout_s=800)
    whole = {iteration: line["loss"] for iteration, line in read_log(trainings / "whole").items()}
    assert sorted(whole) == [1, 2, 3, 4, 5]
    assert len(set(whole.values())) == 5

    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    command = [sys.executable, "-m", "admlops", *map(str, asked), "--name", "ended", "--checkpoint-every", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = trainings / "ended" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"checkpoint"')):
        time.sleep(0.05)
    process.send_signal(number)
    process.wait()
    done = len(read_log(trainings / "ended"))
    assert 0 < done < 5, "it was over before it could be ended"
    admlops("train", model, "--resume", "ended", timeout_s=800)
    again = {iteration: line["loss"] for iteration, line in read_log(trainings / "ended").items()}
    assert again == whole
    begins = [line for line in map(json.loads, log.read_text().splitlines()) if line["kind"] == "begin"]
    assert begins[-1]["iteration"] in range(1, done + 1)
    admlops("run", model, "--checkpoint", "ended", "--data", pictures, "--run", "by-name", timeout_s=800)
    assert (tmp_path / "repository" / "runs" / "by-name" / "run.json").is_file()


@pytest.mark.parametrize("model", ["CalibrationStatus", "FasterRCNN"])
def test_a_loader_goes_on_where_another_ended(model: str) -> None:
    environment = find_model(LAYOUT, load_model(LAYOUT, model), None)
    if environment is None:
        pytest.skip(f"no environment with PyTorch: admlops env install {model}")
    done = subprocess.run(
        [environment.python, HERE / "resumable_check.py", LAYOUT.worker.parent],
        capture_output=True,
        text=True,
        timeout=250,
        env=process_environment(environment.variables),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 24


@pytest.mark.full
def test_several_processes_stop_together_and_one_of_them_writes(tmp_path: Path) -> None:
    environment = find_model(LAYOUT, load_model(LAYOUT, "CalibrationStatus"), None)
    if environment is None:
        pytest.skip("no environment with PyTorch: admlops env install CalibrationStatus")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", HERE / "several_processes.py")
    behind = 0
    for _ in range(2):
        done = subprocess.run(
            [environment.python, *launcher, LAYOUT.worker.parent, tmp_path, str(behind)],
            capture_output=True,
            text=True,
            timeout=280,
            env=process_environment(environment.variables),
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        first, second = (json.loads((tmp_path / f"ended-{rank}.json").read_text()) for rank in (0, 1))
        assert first == second == [behind + 20, "enough"]
        behind += 20
        assert sorted(read_log(tmp_path)) == list(range(1, behind + 1))
        assert (tmp_path / "checkpoints" / f"iteration-{behind:07d}.state.pth.rank1").is_file()
        (tmp_path / "stop").unlink()
