"""Each tracker for real: a server of MLflow on loopback, W&B without a network, TensorBoard's own reader."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.noisy_runs import NoisyRuns
from tests.package.wheel import build_wheel
from tests.venvs import make_venv

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]
SERVER_START_S = 300


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def run(noisy_runs: NoisyRuns, tmp_path: Path) -> Path:
    """An evaluated run that may be changed."""
    return Path(shutil.copytree(noisy_runs.near.path, tmp_path / "near"))


class Trackers:
    """The command of an environment with one extra."""

    def __init__(self, bin_folder: Path, home: Path) -> None:
        self.bin = bin_folder
        self.home = home

    def admlops(self, *arguments: str | Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ADMLOPS", "MLFLOW", "WANDB"))
        }
        done = subprocess.run(
            [self.bin / "admlops", *map(str, arguments)],
            capture_output=True, text=True, cwd=self.home, check=False,
            env={**kept, "HOME": str(self.home), **variables},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def track(self, *arguments: str | Path, server: str = "") -> dict[str, Any]:
        """Track and return what the command says; `server` is named by its variable."""
        shown = self.admlops("track", *arguments, "--json", MLFLOW_TRACKING_URI=server)
        (tracked,) = json.loads(shown.stdout)["runs"]
        return dict(tracked)

    def python(self, program: str, *arguments: str | Path) -> Any:
        done = subprocess.run(
            [self.bin / "python", "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def with_extra(wheel: Path, extra: str, folder: Path) -> Trackers:
    home = folder / "home"
    home.mkdir()
    return Trackers(make_venv(folder / "venv", f"admlops[{extra}] @ {wheel.as_uri()}"), home)


def change_a_metric(run: Path) -> float:
    """Evaluate the run anew, as it were: another value."""
    file = run / "metrics.json"
    metrics = json.loads(file.read_text())
    metrics["metrics"][1]["value"] = 0.125
    dropped = metrics["metrics"].pop()
    file.write_text(json.dumps(metrics))
    assert dropped["name"] == "AP_boundary"
    return 0.125


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server with a database of its own, and an artifact store that it serves itself."""
    folder = tmp_path_factory.mktemp("mlflow")
    bin_folder = make_venv(folder / "venv", "mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [
        bin_folder / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + SERVER_START_S
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


LOOK = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
runs = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        dataset = run.inputs.dataset_inputs[0].dataset
        runs.append({
            "experiment": experiment.name, "name": run.info.run_name, "status": run.info.status,
            "metrics": {k: v if v == v else None for k, v in run.data.metrics.items()},
            "params": run.data.params, "tags": run.data.tags, "dataset": [dataset.name, dataset.digest],
            "files": sorted(one.path for one in client.list_artifacts(run.info.run_id)),
            "records": len(client.list_artifacts(run.info.run_id, "records")),
        })
print(json.dumps(runs))
"""


def test_mlflow(wheel: Path, server: str, run: Path, tmp_path: Path) -> None:
    trackers = with_extra(wheel, "mlflow", tmp_path)
    assert trackers.track(run, "--to", "mlflow", "--server", server)["outcome"] == "created"
    assert trackers.track(run, "--to", "mlflow", server=server)["outcome"] == "unchanged"
    (seen,) = trackers.python(LOOK, server)
    stored = json.loads((run / "metrics.json").read_text())
    assert seen["experiment"] == "nuScenes v1.0-mini mini_val"
    assert (seen["name"], seen["status"]) == ("Near modern", "FINISHED")
    assert seen["metrics"] == {f"{one['protocol']}/{one['name']}": one["value"] for one in stored["metrics"]}
    assert seen["dataset"] == ["nuScenes v1.0-mini mini_val", stored["data"]["samples_sha256"][:12]]
    assert seen["params"]["model"] == "Near"
    assert "| NDS | " in seen["tags"]["mlflow.note.content"]
    assert seen["files"] == ["manifest.json", "metrics.json", "run.json"]

    value = change_a_metric(run)
    updated = trackers.track(run, "--to", "mlflow", "--server", server, "--records")
    assert updated["outcome"] == "updated"
    (seen,) = trackers.python(LOOK, server)
    assert seen["metrics"]["nuscenes.detection_cvpr_2019/NDS"] == value
    assert seen["metrics"]["maptr.chamfer-60x30-0.5_1.0_1.5/AP_boundary"] is None, "no longer measured"
    assert seen["records"] == len(list((run / "records").glob("*.jsonl")))

    refused = trackers.admlops(
        "track", run, "--to", "mlflow", "--server", server.replace("://", "://me:hunter2@"), code=2
    )
    assert "hunter2" not in refused.stdout + refused.stderr
    gone = trackers.admlops("track", run, "--to", "mlflow", "--server", "http://127.0.0.1:9", code=2)
    assert "cannot be reached" in gone.stderr
    secret = trackers.admlops(
        "track", run, "--to", "mlflow", "--server", server,
        MLFLOW_TRACKING_USERNAME="me", MLFLOW_TRACKING_PASSWORD="hunter2",
    )  # fmt: skip
    assert "hunter2" not in secret.stdout + secret.stderr
    assert not any("hunter2" in path.read_text(errors="ignore") for path in run.rglob("*.json"))


class Refuses(http.server.BaseHTTPRequestHandler):
    """A server that wants a login."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated.")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""


def test_a_server_that_refuses_is_said_with_what_to_export(wheel: Path, run: Path, tmp_path: Path) -> None:
    trackers = with_extra(wheel, "mlflow", tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        shown = trackers.admlops(
            "track", run, "--to", "mlflow", "--server", f"http://127.0.0.1:{refusing.server_port}", code=2,
            MLFLOW_TRACKING_USERNAME="me", MLFLOW_TRACKING_PASSWORD="hunter2",
        )  # fmt: skip
        refusing.shutdown()
    assert "refused" in shown.stderr
    assert "export MLFLOW_TRACKING_USERNAME" in shown.stderr
    assert "hunter2" not in shown.stdout + shown.stderr


READ_WANDB = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2

def records(content):
    # LevelDB's log format after a header of 7 bytes: blocks of 32 KiB; crc, length and type before each part.
    at, parts = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""

summary, facts = {}, {}
for data in records(open(sys.argv[1], "rb").read()):
    record = wandb_internal_pb2.Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        facts = {"id": run.run_id, "project": run.project, "name": run.display_name, "notes": run.notes}
    for item in record.summary.update if kind == "summary" else ():
        summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
print(json.dumps({"summary": summary, "facts": facts}))
"""


def test_wandb_without_a_network(wheel: Path, run: Path, tmp_path: Path) -> None:
    trackers = with_extra(wheel, "wandb", tmp_path)
    out = tmp_path / "out"
    first = trackers.track(run, "--to", "wandb", "--dir", out)
    assert first["outcome"] == "created"
    assert first["next_step"] == f"wandb sync {first['where']}"
    assert trackers.track(run, "--to", "wandb", "--dir", out)["outcome"] == "unchanged"
    (file,) = Path(first["where"]).glob("*.wandb")
    seen = trackers.python(READ_WANDB, file)
    stored = json.loads((run / "metrics.json").read_text())
    values = {f"{one['protocol']}/{one['name']}": one["value"] for one in stored["metrics"]}
    assert {name: seen["summary"].get(name) for name in values} == values
    assert seen["facts"]["id"] == first["id"]
    assert (seen["facts"]["name"], seen["facts"]["project"]) == ("Near modern", "nuScenes-v1.0-mini-mini_val")
    assert "| NDS | " in seen["facts"]["notes"]
    assert not (trackers.home / ".local" / "share" / "wandb").exists(), "nothing is staged in the user's home"
    change_a_metric(run)
    second = trackers.track(run, "--to", "wandb", "--dir", out)
    assert (second["outcome"], second["id"]) == ("updated", first["id"])
    refused = trackers.admlops("track", run, "--to", "wandb", "--dir", out, "--online", code=2)
    assert "Traceback" not in refused.stderr
    assert "WANDB_API_KEY" in refused.stderr or "wandb login" in refused.stderr


READ_TENSORBOARD = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
reader = EventAccumulator(sys.argv[1], size_guidance={"tensors": 0, "scalars": 0})
reader.Reload()
scalars = {tag: [one.value for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
texts = {tag: reader.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in reader.Tags()["tensors"]}
print(json.dumps({"scalars": scalars, "texts": texts}))
"""


def test_tensorboard_reads_what_is_written(wheel: Path, run: Path, tmp_path: Path) -> None:
    trackers = with_extra(wheel, "tensorboard", tmp_path)
    out = tmp_path / "out"
    first = trackers.track(run, "--to", "tensorboard", "--dir", out)
    assert first["outcome"] == "created"
    seen = trackers.python(READ_TENSORBOARD, first["where"])
    stored = json.loads((run / "metrics.json").read_text())
    for one in stored["metrics"]:
        assert seen["scalars"][f"{one['protocol']}/{one['name']}"] == pytest.approx([one["value"]])
    assert "| NDS | " in seen["texts"]["run/metrics"]
    assert "Near" in seen["texts"]["run/facts"]
    assert trackers.track(run, "--to", "tensorboard", "--dir", out)["outcome"] == "unchanged"
    value = change_a_metric(run)
    assert trackers.track(run, "--to", "tensorboard", "--dir", out)["outcome"] == "updated"
    again = trackers.python(READ_TENSORBOARD, first["where"])
    assert again["scalars"]["nuscenes.detection_cvpr_2019/NDS"] == pytest.approx([value]), "old files are gone"
    assert len(list(Path(first["where"]).glob("events.*"))) == 1
