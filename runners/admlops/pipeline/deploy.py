"""Deploy a model as a config file asks: export it, verify the engines, and evaluate them on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.errors import RunFailedError
from admlops.core.paths import Layout
from admlops.core.storage import copy_atomically
from admlops.core.types import Planned, Say
from admlops.datasets.base import open_data
from admlops.deployment.artifacts import Artifact
from admlops.deployment.deploy_config import PYTORCH, Deployment
from admlops.deployment.deploy_tensors import check_tensors
from admlops.deployment.manifest import MANIFEST_FILE
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.comparison_runs import ShowProgress
from admlops.pipeline.deploy_checks import check_deployment
from admlops.pipeline.deploy_request import (
    DeployRequest,
    engine_run,
    export_request,
    made_engine,
    named_engine,
    needs_data,
    pytorch_run,
    require_data,
    verify_request,
)
from admlops.pipeline.export import export_model, preview_export
from admlops.pipeline.run import run_model
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.verify import MIN_FRAMES, verify_command, verify_engine

__all__ = ["DeployRequest", "Deployed", "deploy_model", "needs_data", "preview_deployment", "require_data"]


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What came of it: the exported network, the copy in `work_dir`, and what was found of each engine.

    `verified` is engine → outcome; `evaluated` is backend → name of the run and its metrics.
    """

    artifact: Artifact | None
    copy: Path | None
    verified: Mapping[str, Mapping[str, Any]]
    evaluated: Mapping[str, Mapping[str, Any]]


def deploy_model(layout: Layout, request: DeployRequest, *, say: Say, show_progress: ShowProgress) -> Deployed:
    """Do what the config asks, in its order: export, verify, evaluate. Stops at the first engine that is not right.

    Raises:
        UsageError: a key contradicts the model or the machine; names file and line.
        RunFailedError: an engine was verified and is not right, or samples fail.
        AdmlopsError: as exporting, verifying and running raise.
    """
    deployment = request.deployment
    check_deployment(layout, request, say=say)
    for word in deployment.words:
        say(word)
    artifact = None
    if deployment.exports:
        artifact = export_model(layout, export_request(request), say=say)
        check_tensors(deployment, artifact.manifest)
    copy = None if artifact is None else _copy(deployment, artifact, say)
    verified = {}
    for engine in _verifications(layout, request, artifact):
        found = verify_engine(layout, verify_request(request, engine), say=say, show_progress=show_progress)
        verified[engine] = found.to_json()
        if found.failed is not None:
            raise RunFailedError(
                f"{engine}: {found.outcome}",
                hint=f"{verify_command(engine_run(request, engine))} --bisect",
            )
    evaluated = {
        backend: _evaluate(layout, run, say=say, show_progress=show_progress)
        for backend, run in _evaluations(layout, request, artifact)
    }
    return Deployed(artifact=artifact, copy=copy, verified=verified, evaluated=evaluated)


def preview_deployment(layout: Layout, request: DeployRequest, *, say: Say) -> list[Planned]:
    """Say what `deploy_model` would do. Raises the errors that it raises before it begins."""
    deployment, model = request.deployment, request.run.model
    check_deployment(layout, request, say=say)
    steps = [Planned(action="note", target=word) for word in deployment.words]
    if deployment.exports:
        steps += preview_export(layout, export_request(request))
        if deployment.work_dir is not None:
            steps.append(Planned(action="copy to", target=str(deployment.work_dir / deployment.save_file)))
    frames = deployment.frames or MIN_FRAMES
    steps += [
        Planned(action="verify", target=f"{model}@{backend}", detail=f"{frames} frames, then whole scenes")
        for backend in deployment.verified
    ]
    samples = "all samples" if deployment.samples is None else f"{deployment.samples} samples"
    steps += [
        Planned(action="evaluate", target=f"{model}@{backend}", detail=f"{samples}, {request.run.device}")
        for backend in deployment.evaluated
    ]
    return steps


def _verifications(layout: Layout, request: DeployRequest, artifact: Artifact | None) -> Iterator[str]:
    """Yield the engines to verify: what was made, or what `evaluation.models` names where nothing is."""
    deployment = request.deployment
    for backend in deployment.verified:
        if deployment.mode == "none":
            yield named_engine(layout, request, backend, artifact)
        else:
            yield made_engine(deployment, backend, artifact)


def _evaluations(layout: Layout, request: DeployRequest, artifact: Artifact | None) -> Iterator[tuple[str, RunRequest]]:
    """Yield (backend, run) of what `evaluation` asks for: the files it names, else what was made."""
    for backend in request.deployment.evaluated:
        if backend == PYTORCH:
            yield backend, pytorch_run(request)
        else:
            yield backend, engine_run(request, named_engine(layout, request, backend, artifact))


def _evaluate(layout: Layout, request: RunRequest, *, say: Say, show_progress: ShowProgress) -> dict[str, Any]:
    with show_progress() as watch:
        run, summary = run_model(layout, request, say=say, on_progress=watch)
    if summary.state != "complete" or not summary.ok:
        raise RunFailedError(
            f"{run.header.run}: {summary.state}, {summary.failed} samples failed", hint=run.header.resume_command
        )
    data = open_data(request.data, request.version, wanted=load_model(layout, request.model).reads)
    with run.lock():
        metrics = evaluate_run(run, data, layout=layout, say=say)
        run.write_manifest()
    return {"run": run.header.run, "ok": summary.ok, "failed": summary.failed, "metrics": metrics}


def _copy(deployment: Deployment, artifact: Artifact, say: Say) -> Path | None:
    """Copy the file and its manifest into `work_dir`, the manifest last."""
    if deployment.work_dir is None:
        return None
    target = deployment.work_dir / deployment.save_file
    copy_atomically((artifact.file, target), (artifact.folder / MANIFEST_FILE, target.with_name(MANIFEST_FILE)))
    say(f"copied to {target}, with {MANIFEST_FILE}")
    return target
