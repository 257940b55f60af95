"""Checking inputs against this machine: models of the catalogue, data sets below allowed roots, runs that are there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from admlops.catalog import Model, load_model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.curation.where import read_where
from admlops.datasets.base import default_split
from admlops.deployment.engines import parse_engine, split_contender
from admlops.pipeline.default_data import ensure_data, plan_data
from admlops.pipeline.options import check_options
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import Selection
from admlops.results.run_folder import RunFolder
from admlops.results.runs import find_run
from admlops.service.jobs.folders import run_name
from admlops.service.jobs.images import check_images, write_list
from admlops.service.jobs.inputs import Selected
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


def check_model(
    layout: Layout,
    name: str,
    *,
    variant: str | None = None,
    config: str | None = None,
    checkpoint: str | None = None,
    options: dict[str, str] | None = None,
    engine: str | None = None,
) -> Model:
    """Return a model of the catalogue, if it has all that an input names.

    Configurations and checkpoints are names alone: a path could be of any file, and loading one can run code.

    Raises:
        CatalogError: there is no such model or variant.
        UsageError: it has no such configuration, checkpoint, option or engine.
    """
    model = load_model(layout, name)
    if variant is not None:
        model.choose_variant(variant)
    for key, asked, known in (("config", config, model.configs), ("checkpoint", checkpoint, model.checkpoints)):
        if asked is not None and asked not in known:
            listed = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{name} has no {key} {asked!r}; {listed}", hint=f"admlops models show {name}")
    check_options(model, options or {})
    if engine is not None:
        check_engine_name(engine)
    return model


def check_contender(layout: Layout, name: str, selected: Selected) -> Model:
    """Return the model that `MapTR` or `MapTR@onnx` names. Raises as `check_model`."""
    model, engine = split_contender(name)
    return check_model(layout, model, variant=selected.variant, engine=engine)


def check_engine_name(engine: str) -> None:
    """Raise UsageError where this is no engine's name: a file is none, whatever it is called."""
    if parse_engine(engine).file is not None:
        raise UsageError(f"engine {engine} is a file", hint="name a kind of engine, such as onnx or tensorrt:fp16")


def find_data(settings: JobSettings, named: str) -> Path:
    """Return the data set's root that an input names.

    A link below a root may lead out of it: whoever can make one there is trusted.

    Raises:
        UsageError: it lies below no allowed root, or is not there.
    """
    roots = [Path(os.path.abspath(root)) for root in settings.data_roots]  # noqa: PTH100  resolves no link
    inside = [
        path
        for root in roots
        if (path := Path(os.path.abspath(root / named))).is_relative_to(root)  # noqa: PTH100
    ]
    found = next((path for path in inside if path.exists()), None)
    if found is not None:
        return found
    listed = ", ".join(map(str, roots)) or "none"
    reason = "is not there" if inside else "lies below no allowed root"
    raise UsageError(
        f"data {named!r} {reason}; allowed roots: {listed}",
        hint="name a data set below one of them, or let the service's operator allow its root",
    )


def check_selected(layout: Layout, settings: JobSettings, selected: Selected, models: Iterable[Model]) -> None:
    """Refuse a data set that is not allowed or not there, and a condition that is none.

    Raises:
        UsageError: `data` lies below no allowed root, or is not there; or `where` is wrong.
        DataError: none is named, and none is set up or can be made.
    """
    if selected.where is not None:
        read_where(selected.where, option="where")
    if selected.data is not None:
        find_data(settings, selected.data)
        return
    if selected.images:
        check_images(selected.images, lambda named: find_data(settings, named))
        return
    for model in models:
        plan_data(layout, model.reads[0])


def check_run(layout: Layout, name: str) -> RunFolder:
    """Return a run below `runs/`.

    Raises:
        RecordError: there is none.
    """
    return find_run(layout, name)


def make_run_request(work: Work, selected: Selected, model: Model, *, usual: Path | None = None) -> RunRequest:
    """Return the request of `model` over the samples of an input. It makes synthetic scenes where no data set is there.

    Args:
        usual: the data set's root where the input names none.

    Raises:
        AdmlopsError: the data set is not allowed, not there, or has no such split.
    """
    if selected.data is not None:
        data = find_data(work.settings, selected.data)
    elif selected.images:
        data = write_list(work.layout, selected.images, lambda named: find_data(work.settings, named))
    else:
        data = usual or ensure_data(work.layout, model.reads[0], say=work.say)
    split = selected.split or default_split(data, selected.version, wanted=model.reads)
    return RunRequest(
        model=model.name,
        data=data,
        version=selected.version,
        selection=Selection(
            split=split,
            scenes=tuple(selected.scenes),
            limit=selected.limit,
            complete_scenes=selected.complete_scenes,
            where=selected.where,
        ),
        variant=selected.variant,
        device=selected.device,
        workers=selected.workers,
        precision=selected.precision,
        batch=selected.batch,
        estimate_energy=selected.estimate_energy,
        command=f"{work.job.endpoint} job {work.job.id}",
        cancel=work.cancel,
    )


def for_job(request: RunRequest, work: Work) -> RunRequest:
    """Return the request with the name of the job's own run."""
    return replace(request, name=run_name(request.model, work.job.id))
