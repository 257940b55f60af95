"""The endpoint `export`: a model's network leaves PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.paths import Layout
from admlops.execution.cancel import CancelToken
from admlops.pipeline.default_data import ensure_data
from admlops.pipeline.export import ExportRequest, check_export, export_model
from admlops.pipeline.run_request import RunRequest
from admlops.service.jobs.checks import check_model, find_data
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.jobs.inputs import ExportInput
from admlops.service.jobs.output import relative
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


def check(layout: Layout, settings: JobSettings, given: ExportInput) -> None:
    """Raise AdmlopsError where the input names something that is not there, or the model has no network."""
    model = check_model(
        layout,
        given.model,
        variant=given.variant,
        config=given.config,
        checkpoint=given.checkpoint,
        options=given.options,
    )
    if given.data is not None:
        find_data(settings, given.data)
    check_export(model, _request(given, Path(), CancelToken()))


def work(work: Work, given: ExportInput) -> Mapping[str, Any]:
    """Export the network; one that was exported alike is found again. Raises AdmlopsError: it cannot be exported."""
    data = Path()  # only int8 looks at data
    if given.data is not None:
        data = find_data(work.settings, given.data)
    elif given.calibrate is not None:
        data = ensure_data(work.layout, check_model(work.layout, given.model).reads[0], say=work.say)
    artifact = export_model(work.layout, _request(given, data, work.cancel), say=work.say)
    return {
        "artifact": artifact.name,
        "file": relative(work.layout, artifact.file),
        "manifest": msgspec.to_builtins(artifact.manifest),
        "report": None,
    }


def _request(given: ExportInput, data: Path, cancel: CancelToken) -> ExportRequest:
    run = RunRequest(
        model=given.model,
        data=data,
        version=given.version,
        variant=given.variant,
        config=given.config,
        checkpoint=given.checkpoint,
        weights=given.weights,
        model_options=given.options,
        cancel=cancel,
    )
    return ExportRequest(
        run=run,
        precision=given.precision,
        opset=given.opset,
        form=given.form,
        calibrate=given.calibrate,
        calibration_samples=given.calibration_samples,
    )


EXPORT = Endpoint(
    id="export", title="Write a model's network as an ONNX file", shape=ExportInput, check=check, work=work
)
