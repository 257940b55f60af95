"""What goes into a network and comes out of it, known before it is exported."""

from __future__ import annotations

import msgspec

from admlops.catalog import Model
from admlops.core.errors import EnvError, RunFailedError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.deployment.artifacts import list_artifacts
from admlops.deployment.manifest import TensorInfo, Tensors
from admlops.environments import find_model
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import working_folder
from admlops.sources.provenance import describe_code
from admlops.worker.network import DEFAULT_FORM


def find_tensors(layout: Layout, model: Model, run: RunRequest, *, say: Say) -> Tensors | None:
    """Return the network's inputs and outputs, from an export by the same code, else by asking the network.

    None if they follow from a configuration that is read with the weights, or if the environment is not there.
    """
    code = describe_code(model.folder)
    own = [
        one.manifest
        for one in list_artifacts(layout, model.name)
        if one.manifest.source.code == code and one.manifest.form == DEFAULT_FORM
    ]
    if own and run.config in (None, own[-1].source.config):
        return Tensors(inputs=own[-1].inputs, outputs=own[-1].outputs)
    return _ask(layout, model, run, say=say)


def _ask(layout: Layout, model: Model, run: RunRequest, *, say: Say) -> Tensors | None:
    environment = find_model(layout, model, run.variant or model.default_variant)
    if environment is None:
        return None
    try:
        found = run_job(
            JobRequest(
                model=model.name,
                title=f"asking {model.name} for its tensors",
                command=WorkerCommand(
                    python=environment.python,
                    adapter=model.adapter,
                    cwd=working_folder(layout, model),
                    variables=process_environment(environment.variables),
                ),
                program=layout.worker / "describe.py",
                settings={"device": "cpu", "variant": run.variant or model.default_variant},
                request={"form": DEFAULT_FORM},
                log=layout.exported / model.name / "describe.log",
                cancel=run.cancel,
            ),
            say=say,
        )
    except (EnvError, RunFailedError) as error:
        say(f"{model.name}: names and shapes are held to the file once it is exported: {error.message.splitlines()[0]}")
        return None
    if "unknown" in found:
        say(f"{model.name}: names and shapes are held to the file once it is exported: they follow from its weights")
        return None
    kinds = list[TensorInfo]
    return Tensors(inputs=msgspec.convert(found["inputs"], kinds), outputs=msgspec.convert(found["outputs"], kinds))
