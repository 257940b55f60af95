"""Making the header of a new run."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, UnsetType

from admlops import __version__
from admlops.catalog import Model
from admlops.core.errors import DataError
from admlops.core.paths import Layout
from admlops.curation.where import choose_samples
from admlops.datasets.base import Dataset, Scene, tokens_digest
from admlops.environments import Environment
from admlops.health.devices import ComputeDevice
from admlops.pipeline.config_text import config_sha256
from admlops.pipeline.selection import Selection, measure_whole, select_all
from admlops.results.header import DataInfo, DeviceInfo, EnvironmentInfo, Provenance, RunHeader, ShardInfo, WhereInfo
from admlops.sources.provenance import describe_adapter, describe_commit, describe_sources


def make_header(
    layout: Layout,
    model: Model,
    *,
    name: str | None,
    variant: str,
    runtime: str,
    environment: Environment,
    data: Dataset,
    selection: Selection,
    scenes: Sequence[Scene],
    settings: Mapping[str, Any],
    checkpoint_sha256: str | None,
    checkpoint_name: str | None,
    devices: Sequence[ComputeDevice],
    machine: Mapping[str, Any],
    options: Mapping[str, Any],
) -> RunHeader:
    """Return the header of a run that is about to begin. `machine` is what `describe_machine` gave."""
    now = datetime.now(UTC)
    return RunHeader(
        run=name or f"{model.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        model=model.name,
        variant=variant,
        environment=EnvironmentInfo(
            name=environment.name,
            digest=environment.digest,
            backend=environment.installer,
            python=str(environment.python),
        ),
        data=_describe_data(data, selection, scenes),
        provenance=Provenance(
            commit=describe_commit(layout),
            admlops=__version__,
            host=f"{machine['system']}, {machine['cpu']} x {machine['cpu_count']}, {machine['memory_mb']} MB, "
            f"Python {platform.python_version()}",
            gpus=[str(device["name"]) for device in machine["gpus"]["devices"]],
            driver=machine["gpus"]["driver"],
            sources=describe_sources(layout, model),
            checkpoint_sha256=checkpoint_sha256,
            checkpoint=checkpoint_name,
            config_sha256=config_sha256(settings["config"]),
            licenses=_licenses(model, published=checkpoint_name is not None),
            sensors=list(model.sensors_of(settings["config"])),
        ),
        scenes={scene.name: len(scene.samples) for scene in scenes},
        settings=dict(settings),
        adapter=describe_adapter(layout, model.folder),
        runtime=runtime,
        device=DeviceInfo(kind=devices[0].kind, name=devices[0].name, ids=[device.id for device in devices]),
        options=dict(options),
        created=now.isoformat(timespec="seconds"),
    )


def _licenses(model: Model, *, published: bool) -> dict[str, str]:
    """The licences of what ran; that of the weights where they are the published ones."""
    weights = {"weights": model.weights_license} if published and model.weights_license else {}
    return {"code": model.license, **weights}


def _describe_data(data: Dataset, selection: Selection, scenes: Sequence[Scene]) -> DataInfo:
    whole, samples = measure_whole(data, selection)
    return DataInfo(
        root=str(data.root),
        version=data.version,
        split=selection.split_name,
        samples_sha256=tokens_digest(token for scene in scenes for token in scene.samples),
        synthetic=data.is_synthetic,
        whole=whole,
        whole_samples=samples,
        pictures=_count_pictures(data, scenes),
        kind=data.kind,
        shard=_describe_shard(data, selection),
        where=_describe_where(data, selection, scenes),
    )


def _describe_where(data: Dataset, selection: Selection, scenes: Sequence[Scene]) -> WhereInfo | UnsetType:
    """Return what a condition chose of the scenes of all shards; unset without one."""
    where = selection.chosen_by
    if where is None:
        return UNSET
    everything = scenes if selection.shard is None else select_all(data, selection)
    chosen = choose_samples(data, where)
    tokens = [token for scene in everything for token in scene.samples if token in chosen]
    return WhereInfo(
        condition=where.text, tags=where.definitions, samples=len(tokens), samples_sha256=tokens_digest(tokens)
    )


def _describe_shard(data: Dataset, selection: Selection) -> ShardInfo | None:
    if selection.shard is None:
        return None
    scenes = select_all(data, selection)
    return ShardInfo(
        index=selection.shard.index,
        count=selection.shard.count,
        split=replace(selection, shard=None).split_name,
        scenes={scene.name: len(scene.samples) for scene in scenes},
        samples_sha256=tokens_digest(token for scene in scenes for token in scene.samples),
    )


def _count_pictures(data: Dataset, scenes: Sequence[Scene]) -> int | None:
    """Count the cameras of the first sample; None if it cannot be read, which the run will report."""
    first = next((token for scene in scenes for token in scene.samples), None)
    if first is None:
        return None
    try:
        return len(data.sample(first)["cameras"])
    except DataError:
        return None
