"""MLflow: a run in an experiment of a tracking server, over HTTP by mlflow-skinny's client."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from admlops.core.addresses import hide_users, redact
from admlops.core.errors import MissingExtraError, TrackingError, UsageError
from admlops.core.types import Say
from admlops.tracking.exported import ExportedRun
from admlops.tracking.trackers import Destination, Tracked

ADDRESS = "MLFLOW_TRACKING_URI"
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""What MLflow's client reads itself; none of it is ever printed or written down."""
REACH_S = 5.0
QUICK = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Defaults for the client, whose own are to try an unreachable server for minutes, and to print into our output."""

ID_TAG, DIGEST_TAG = "admlops.id", "admlops.digest"
FINISHED = {"complete": "FINISHED", "cancelled": "KILLED"}
"""MLflow's status of a run by ours; all others are FAILED."""
MAX_BATCH = 100
MAX_TAG = 5000

Answer = TypeVar("Answer")


class Mlflow:
    """Writes to a tracking server."""

    id = "mlflow"

    def track(self, run: ExportedRun, destination: Destination, *, say: Say) -> Tracked:
        """Create the run in its experiment, or bring it up to date. Raises as `Tracker.track`."""
        server = check_address(destination.server or os.environ.get(ADDRESS))
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        library = _load()
        _require_reachable(server)
        return _ask(server, lambda: _track(library, library.MlflowClient(tracking_uri=server), run, destination, say))


def check_address(server: str | None) -> str:
    """The server's address as it may be used and printed.

    Raises:
        UsageError: there is none, it is not HTTP, or it holds a user or password.
    """
    if not server:
        raise UsageError(
            "--to mlflow needs the address of a tracking server",
            hint=f"admlops track RUN --to mlflow --server http://127.0.0.1:5000   # or export {ADDRESS}",
        )
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{redact(server)} is no address of a tracking server: it begins with http:// or https://",
            hint="mlflow server --backend-store-uri sqlite:///mlflow.db   # then pass --server http://127.0.0.1:5000",
        )
    if parts.username or parts.password:
        raise UsageError(
            f"the address of {redact(server)} holds a user or a password, which would end up in logs",
            hint=f"pass the address alone, and export {CREDENTIALS[0]} and {CREDENTIALS[1]}",
        )
    return server.rstrip("/")


class _Library:
    def __init__(self) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        self.MlflowClient: Any = MlflowClient
        self.Dataset: Any = Dataset
        self.DatasetInput: Any = DatasetInput
        self.InputTag: Any = InputTag
        self.Metric: Any = Metric
        self.Param: Any = Param
        self.RunTag: Any = RunTag
        self.MlflowException: type[Exception] = MlflowException


def _load() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        raise MissingExtraError("--to mlflow", "mlflow", error) from error


def _require_reachable(server: str) -> None:
    """Ask the server for any answer before the client's own many tries."""
    import httpx

    try:
        httpx.get(f"{server}/health", timeout=REACH_S)
    except httpx.HTTPError as error:
        raise TrackingError(
            f"the tracking server {redact(server)} cannot be reached: {hide_users(str(error)) or type(error).__name__}",
            hint=f"curl {redact(server)}/health   # is it running, and is that its address?",
        ) from error


def _ask(server: str, work: Callable[[], Answer]) -> Answer:
    """Do the work, and say what a refusal of the server means."""
    from mlflow.exceptions import MlflowException

    try:
        return work()
    except MlflowException as error:
        said = " ".join(hide_users(str(error)).split())[:500]
        hint = f"curl {redact(server)}/health"
        if "401" in said or "403" in said or "UNAUTHENTICATED" in said or "PERMISSION_DENIED" in said:
            hint = f"export {' and '.join(CREDENTIALS[:2])}, or {CREDENTIALS[2]}; behind a proxy see docs/tracking.md"
        raise TrackingError(f"the tracking server {redact(server)} refused: {said}", hint=hint) from error


def _track(library: _Library, client: Any, run: ExportedRun, destination: Destination, say: Say) -> Tracked:
    experiment = _experiment(library, client, destination.project or run.project)
    before = _find(client, experiment, run.id)
    if before is not None and before.data.tags.get(DIGEST_TAG) == run.digest:
        return _tracked("unchanged", client, experiment, before.info.run_id, destination)
    if before is None:
        created = client.create_run(
            experiment, start_time=run.created_ms, run_name=run.title, tags={ID_TAG: run.id, "admlops.run": run.run}
        )
        identifier = created.info.run_id
    else:
        identifier = before.info.run_id
        client.update_run(identifier, status="RUNNING")
    _log(library, client, identifier, run, before)
    _upload(client, identifier, run, destination, say)
    # Last of all, so that a run which was cut off is brought up to date the next time.
    client.set_tag(identifier, DIGEST_TAG, run.digest)
    end_ms = run.created_ms + int(1000 * (run.telemetry[-1][0] if run.telemetry else 0))
    client.set_terminated(identifier, status=FINISHED.get(run.state, "FAILED"), end_time=end_ms)
    return _tracked("created" if before is None else "updated", client, experiment, identifier, destination)


def _experiment(library: _Library, client: Any, name: str) -> str:
    """The id of the experiment, made through the server so that its artifacts are the server's."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
        except library.MlflowException:
            found = client.get_experiment_by_name(name)  # somebody else has just made it
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f'the experiment "{name}" was deleted on the server', hint="restore it there, or pass --project NAME"
        )
    return str(found.experiment_id)


def _find(client: Any, experiment: str, identifier: str) -> Any | None:
    found = client.search_runs([experiment], filter_string=f"tags.`{ID_TAG}` = '{identifier}'", max_results=1)
    return found[0] if found else None


def _log(library: _Library, client: Any, identifier: str, run: ExportedRun, before: Any | None) -> None:
    """Log what is not there yet, and every metric anew; `before` may be a run whose export was cut off."""
    known = {} if before is None else before.data.metrics
    now = int(1000 * time.time())  # MLflow shows the newest value of a metric
    gone = [name for name in known if name not in run.metrics and not name.startswith("telemetry/")]
    metrics = [library.Metric(name, value, now, 0) for name, value in run.metrics.items()]
    # What is no longer measured cannot be removed there.
    metrics += [library.Metric(name, float("nan"), now, 0) for name in gone]
    if not any(name.startswith("telemetry/") for name in known):
        metrics += [
            library.Metric(name, value, run.created_ms + int(1000 * t), round(t))
            for t, values in run.telemetry
            for name, value in values.items()
        ]
    logged = {} if before is None else before.data.params
    params = [library.Param(name, value) for name, value in run.params.items() if name not in logged]
    tags = {
        **run.tags,
        "mlflow.source.name": "admlops",
        "mlflow.source.type": "PROJECT",
        "mlflow.note.content": run.note[:MAX_TAG],
        **({"mlflow.source.git.commit": run.tags["admlops.commit"]} if "admlops.commit" in run.tags else {}),
    }
    client.log_batch(identifier, params=params, tags=[library.RunTag(name, value) for name, value in tags.items()])
    for begin in range(0, len(metrics), MAX_BATCH):
        client.log_batch(identifier, metrics=metrics[begin : begin + MAX_BATCH])
    name, digest = run.dataset
    dataset = library.Dataset(
        name=name,
        digest=digest,
        source_type="local",
        source=json.dumps({"data": name}),
        profile=json.dumps({"samples": run.samples}),
    )
    tag = library.InputTag("mlflow.data.context", "evaluation")
    client.log_inputs(identifier, datasets=[library.DatasetInput(dataset=dataset, tags=[tag])])


def _upload(client: Any, identifier: str, run: ExportedRun, destination: Destination, say: Say) -> None:
    """Upload the files, unless the server hands out a path of its own disk: they would stay on this machine."""
    place = str(client.get_run(identifier).info.artifact_uri)
    if urlsplit(place).scheme in ("", "file"):
        say(f"the files are not uploaded: the server keeps them in {place}, a path of its disk; see docs/tracking.md")
        return
    for path in run.files:
        client.log_artifact(identifier, str(path))
    if destination.records:
        for path in run.records:
            client.log_artifact(identifier, str(path), artifact_path="records")


def _tracked(outcome: Any, client: Any, experiment: str, identifier: str, destination: Destination) -> Tracked:
    server = redact(check_address(destination.server or os.environ.get(ADDRESS)))
    return Tracked(outcome=outcome, where=f"{server}/#/experiments/{experiment}/runs/{identifier}", id=identifier)


TRACKER = Mlflow()
