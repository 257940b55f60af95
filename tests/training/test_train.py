"""`admlops train` from end to end, with a model whose trainer is a few lines of plain Python."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from admlops.core.paths import find_layout
from admlops.synthetic import SynthesisOptions, synthesize

HERE = Path(__file__).resolve().parent


class Pod:
    """A checkout with one model that trains, scenes of both splits, and `admlops` in it."""

    def __init__(self, folder: Path) -> None:
        self.root = root = folder / "checkout"
        (root / "envs").mkdir(parents=True)
        (root / "runners").symlink_to(find_layout().root / "runners")
        shutil.copytree(HERE / "slope_model", root / "envs" / "Slope")
        self.data = folder / "scenes"
        synthesize(self.data, SynthesisOptions(scenes=3, samples=1, scale=0.1, lidar_sweeps=0, camera_sweeps=0))
        self.repository = folder / "repository"
        self.variables = {
            **os.environ,
            "ADMLOPS_PATH": str(root),
            "ADMLOPS_REP_PATH": str(self.repository),
            "ADMLOPS_ENVIRONMENTS": str(folder / "environments"),
            "COLUMNS": "200",
        }

    def admlops(
        self, *arguments: str | Path, code: int = 0, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "admlops", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**self.variables, **(variables or {})},
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def train(self, *arguments: str, code: int = 0, variables: dict[str, str] | None = None) -> dict[str, Any]:
        given = ("train", "Slope", "--data", str(self.data), *arguments, "--json")
        done = self.admlops(*given, code=code, variables=variables)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def folder(self, name: str) -> Path:
        return self.repository / "trainings" / name

    def log(self, name: str, kind: str = "iteration") -> list[dict[str, Any]]:
        lines = map(json.loads, (self.folder(name) / "log.jsonl").read_text().splitlines())
        return [line for line in lines if line["kind"] == kind]

    def header(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder(name) / "training.json").read_text())
        return found

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Begin a slow training and return once it has told of a few iterations."""
        command = ("train", "Slope", "--data", self.data, "--name", name, "--iterations", "40", *arguments)
        process = subprocess.Popen(
            [sys.executable, "-m", "admlops", *map(str, command)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.variables, "SLOPE_SLEEP": "0.05"},
        )
        while process.poll() is None and not ((self.folder(name) / "log.jsonl").exists() and len(self.log(name)) > 6):
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        return process


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Pod:
    return Pod(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def unbroken(pod: Pod) -> list[dict[str, Any]]:
    """The iterations of a training of 40 that nothing interrupts."""
    pod.train("--name", "unbroken", "--iterations", "40")
    return pod.log("unbroken")


def losses(lines: list[dict[str, Any]]) -> dict[int, float]:
    return {line["iteration"]: line["loss"] for line in lines}


def test_the_best_weights_are_registered_and_run_by_name(pod: Pod) -> None:
    """Every checkpoint is right about everything, so that the second brings no gain."""
    asked = ("--name", "first", "--iterations", "400", "--evaluate-every", "25", "--patience", "1")
    said = pod.train(*asked, variables={"SLOPE_SLEEP": "0.05"})
    assert said["state"] == "complete"
    assert said["reason"] == "no gain"
    assert said["iterations"] < 400
    assert said["lowest_loss"] < said["first_loss"]
    header = pod.header("first")
    assert header["best"]["metric"] == "accuracy"
    assert header["best"]["value"] == 1.0
    assert header["start"]["kind"] == "authors"
    assert header["data"]["split"] == "mini_train"
    evaluated = [json.loads(line) for line in (pod.folder("first") / "evaluations.jsonl").read_text().splitlines()]
    assert [one["value"] for one in evaluated] == [1.0, 1.0]
    assert evaluated[0]["iteration"] == header["best"]["iteration"] < evaluated[1]["iteration"]
    page = (pod.folder("first") / "report.html").read_text()
    assert "Norm of the gradient" in page
    assert said["checkpoint"]["sha256"] in page
    pod.admlops("run", "Slope", "--data", pod.data, "--checkpoint", "first", "--run", "by-name")
    ran = json.loads((pod.repository / "runs" / "by-name" / "run.json").read_text())
    assert ran["provenance"]["checkpoint_sha256"] == said["checkpoint"]["sha256"]
    child = pod.train("--name", "child", "--iterations", "2", "--from", "first")
    assert child["state"] == "complete"
    assert pod.header("child")["start"] == {
        "kind": "checkpoint",
        "name": "first",
        "sha256": said["checkpoint"]["sha256"],
    }
    trained = json.loads((pod.repository / "checkpoints" / "Slope" / "trained" / "trained.json").read_text())
    listed = json.loads(pod.admlops("checkpoints", "list", "Slope", "--json").stdout)
    assert [one["checkpoint"] for one in listed] == ["first", "child"]
    assert trained["first"]["iteration"] == header["best"]["iteration"]
    assert trained["child"]["parent"]["name"] == "first"


def test_a_student_learns_from_its_teacher_and_keeps_its_name(pod: Pod) -> None:
    teacher = pod.train("--name", "teacher", "--iterations", "40")["checkpoint"]
    asked = ("--teacher", "teacher", "--soft-share", "1", "--temperature", "2")
    student = pod.train("--name", "student", "--iterations", "8", *asked)["checkpoint"]
    kept = {"name": "teacher", "sha256": teacher["sha256"], "temperature": 2.0, "soft_share": 1.0}
    assert pod.header("student")["settings"]["teacher"] == kept
    trained = json.loads((pod.repository / "checkpoints" / "Slope" / "trained" / "trained.json").read_text())
    assert trained["student"]["teacher"] == kept
    assert trained["student"]["pruned"] is None
    assert trained["teacher"]["teacher"] is None
    listed = json.loads(pod.admlops("checkpoints", "list", "Slope", "--json").stdout)
    (row,) = [one for one in listed if one["checkpoint"] == "student"]
    assert (row["status"], row["teacher"]) == ("ready; trained here, taught by teacher", kept)
    assert (
        "cannot change now"
        in pod.train("--resume", "student", "--iterations", "9", "--temperature", "3", code=2)["error"]
    )

    limited = ("--data", pod.data, "--limit", "1", "--json")
    names = "Slope:teacher,Slope:student"
    summary = json.loads(pod.admlops("compare", "--models", names, *limited).stdout)
    assert [row["model"] for row in summary["models"]] == names.split(",")
    (group,) = summary["engines"]
    assert [one["file_bytes"] for one in group["engines"]] == [Path(teacher["file"]).stat().st_size] * 2
    assert [one["checkpoint"] for one in group["engines"]] == [teacher["sha256"], student["sha256"]]
    said = pod.admlops("compare", "--models", names, *limited[:-1])
    assert "weights of Slope, 1 samples" in said.stdout + said.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_a_checkpoint_and_a_resume_goes_on(
    pod: Pod, unbroken: list[dict[str, Any]], number: signal.Signals
) -> None:
    name = f"stopped-{number.name}"
    process = pod.start(name)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert f"admlops train Slope --resume {name}" in said
    (saved,) = pod.log(name, "checkpoint")
    assert saved["iteration"] == pod.log(name)[-1]["iteration"]
    assert pod.header(name)["state"] == "stopped"
    assert "stopped" in (pod.folder(name) / "report.html").read_text().lower()
    pod.train("--resume", name)
    assert losses(pod.log(name)) == losses(unbroken)
    assert len(pod.log(name)) == len(unbroken)


def test_a_killed_training_goes_on_behind_its_last_checkpoint(pod: Pod, unbroken: list[dict[str, Any]]) -> None:
    process = pod.start("killed", "--checkpoint-every", "4")
    process.kill()
    process.communicate()
    told = pod.log("killed")[-1]["iteration"]
    pod.train("--resume", "killed")
    assert losses(pod.log("killed")) == losses(unbroken)
    assert [line["iteration"] for line in pod.log("killed")] == list(range(1, 41))
    begun = pod.log("killed", "begin")[-1]["iteration"]
    assert begun <= told
    assert begun % 4 == 0


def test_a_loss_that_is_no_number_ends_it(pod: Pod) -> None:
    said = pod.train("--name", "broken", "--iterations", "9", code=1, variables={"SLOPE_NAN": "5"})
    assert "the loss of iteration 5 is nan" in said["error"]
    assert pod.header("broken")["state"] == "failed"
    assert pod.log("broken")[-1]["loss"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--split", "mini_val"), "share 2 scenes"),
        (("--epochs", "1", "--iterations", "1"), "exclude each other"),
        (("--patience", "1"), "none is evaluated"),
        (("--gpus", "7"), "trains on one GPU"),
        (("--from", "nothing"), "neither a file nor a name"),
        (("--resume", "nothing"), "there is no training nothing"),
        (("--name", "x", "--resume", "y"), "--name is for a new training"),
        (("--config", "nothing"), "neither a file nor a config"),
        (("--prune", "0.5", "--from", "random"), "does not take it"),
        (("--temperature", "2"), "is for a --teacher"),
        (("--teacher", "nothing"), "neither a file nor a name"),
    ],
)
def test_a_mistake_is_one_error_and_leaves_nothing(pod: Pod, arguments: tuple[str, ...], says: str) -> None:
    before = sorted(pod.repository.glob("trainings/*"))
    assert says in pod.train(*arguments, code=2)["error"]
    assert sorted(pod.repository.glob("trainings/*")) == before


def test_a_variant_trains_with_what_its_extension_adds(pod: Pod, unbroken: list[dict[str, Any]]) -> None:
    pod.admlops("models", "fork", "Slope", "Steep")
    folder = pod.root / "envs" / "Steep"
    extension = 'from demo import LOSSES, log_loss\n\nLOSSES["doubled"] = lambda *given: 2 * log_loss(*given)\n'
    (folder / "extension" / "__init__.py").write_text(extension)
    pod.admlops("models", "validate")
    asked = ("--data", pod.data, "--name", "doubled", "--iterations", "3", "--json")
    pod.admlops("train", "Steep", *asked, variables={"SLOPE_LOSS": "doubled"})
    assert [line["loss"] for line in pod.log("doubled")] == [2 * line["loss"] for line in unbroken[:3]]
    pod.admlops("run", "Steep", "--data", pod.data, "--limit", "1", "--checkpoint", "doubled", "--run", "steep")
    assert "there is a model Steep already" in pod.admlops("models", "fork", "Slope", "Steep", code=2).stderr


def test_a_resume_changes_nothing_that_was_trained(pod: Pod, unbroken: list[dict[str, Any]]) -> None:
    said = pod.train("--resume", "unbroken", "--iterations", "50", "--learning-rate", "0.5", code=2)
    assert "cannot change now" in said["error"]
    assert "is complete" in pod.train("--resume", "unbroken", code=2)["error"]


def test_the_rate_follows_the_batch(pod: Pod) -> None:
    pod.train("--name", "rate", "--iterations", "1", "--batch", "2")
    assert pod.log("rate")[0]["learning_rate"] == pytest.approx(0.1)
    (finding,) = [one for one in pod.header("rate")["findings"] if one["what"] == "learning rate"]
    assert "belongs to a batch of 4" in finding["text"]
