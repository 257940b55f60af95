"""The engine of a run: which exported file executes the network, with which packages, and what its header says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from admlops.catalog import Model
from admlops.catalog.registries import RUNTIMES
from admlops.catalog.runtimes import Runtime
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import file_sha256
from admlops.core.types import Device, Say
from admlops.deployment.artifacts import (
    describe_verification,
    find_verification,
    require_whole,
)
from admlops.deployment.engines import Engine, parse_engine
from admlops.deployment.manifest import MANIFEST_FILE, Manifest, read_manifest
from admlops.environments import Environment, ensure_tool
from admlops.health.devices import ComputeDevice
from admlops.health.gpus import detect_gpus
from admlops.pipeline.artifact_choice import choose_artifact, is_of_this_code, require_fit
from admlops.pipeline.run_request import RunRequest
from admlops.sources.provenance import describe_code
from admlops.worker.network import DEFAULT_FORM, FILE_NAME
from admlops.worker.precision import AUTHORS

USUAL, LONGEST = 8, 64
"""The usual and the largest length of a dynamic axis that an engine is built for by default."""
UNKNOWN = "unknown"
"""The precision of a file without a manifest."""


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """The file that executes a network; `manifest` is None for one of unknown origin.

    `code` is the digest of the model's folder as it is now.
    """

    engine: Engine
    file: Path
    sha256: str
    manifest: Manifest | None
    code: str

    @property
    def precision(self) -> str:
        """The precision that the file is written in, as far as it is known."""
        return UNKNOWN if self.manifest is None else self.manifest.precision

    @property
    def weights(self) -> str | None:
        """`random:SEED` where the exported weights were drawn."""
        return None if self.manifest is None else self.manifest.source.weights

    @property
    def export_command(self) -> str:
        """The command that exports the file again; empty where no manifest says how it was made."""
        return "" if self.manifest is None else self.manifest.export_command

    def describe_build(self, layout: Layout, request: RunRequest) -> dict[str, Any]:
        """Return the options by which a runtime builds an engine and where it keeps it; empty for one that builds none.

        `cache` and `driver` do not affect the records.
        """
        if not self.engine.runtime.builds:
            return {}
        driver = next((gpu.driver for gpu in detect_gpus()), None)
        return {
            "build": {**self._default_options(), **request.engine_options},
            "cache": str(layout.repository / "cache" / "engines"),
            "driver": driver or "",
        }

    def describe(self, *, device: ComputeDevice, packages: RuntimePackages) -> dict[str, Any]:
        """Return `settings.engine` of the run's header; `file` goes to the worker and does not affect the records."""
        provider = self.engine.runtime.providers.get(device.kind, device.kind)
        versions = dict(packages.versions)
        found = find_verification(
            self.file.parent,
            sha256=self.sha256,
            provider=provider,
            device=device.name,
            versions=versions,
            code=self.code,
        )
        return {
            "kind": self.engine.kind,
            "precision": self.precision,
            "form": DEFAULT_FORM if self.manifest is None else self.manifest.form,
            "sha256": self.sha256,
            "size_bytes": self.file.stat().st_size,
            "provider": provider,
            "versions": versions,
            "artifact": None if self.manifest is None else f"{self.manifest.model}/{self.manifest.key}",
            **describe_verification(found),
            "file": str(self.file),
            "export": self.export_command,
            **self._describe_calibration(),
        }

    def _describe_calibration(self) -> dict[str, Any]:
        """The samples that int8 ranges were taken from: an evaluation refuses to judge the file on any of them."""
        calibration = None if self.manifest is None else self.manifest.calibration
        return {} if calibration is None else {"calibrated_on": calibration.samples}

    def _default_options(self) -> dict[str, Any]:
        """Return TF32 by the precision and, for inputs whose axes vary, the network's own lengths, or 1 to LONGEST."""
        if self.manifest is None:
            return {}
        known, unknown = self.manifest.lengths, (1, USUAL, LONGEST)
        profile = {
            one.name: [
                [axis if isinstance(axis, int) else known.get(axis, unknown)[place] for axis in one.shape]
                for place in range(len(unknown))
            ]
            for one in self.manifest.inputs
            if not all(isinstance(axis, int) for axis in one.shape)
        }
        return {"tf32": self.manifest.precision != "fp32", **({"profile": profile} if profile else {})}


@dataclass(frozen=True, kw_only=True)
class RuntimePackages:
    """The packages of a runtime: the folders to append to a worker's path, none where its own environment has them."""

    path: Sequence[str] = ()
    versions: Mapping[str, str]


def find_engine(layout: Layout, model: Model, request: RunRequest, *, say: Say) -> EngineFile | None:
    """Return the file that `--engine` means; None where the adapter's own network runs.

    Raises:
        UsageError: the model has no network to replace, nothing that fits was exported, or an option contradicts it.
    """
    if request.engine is None:
        return None
    engine = parse_engine(request.engine)
    check_engine(model, request)
    if engine.file is not None:
        return _of_file(model, request, engine, engine.file, say=say)
    artifact = choose_artifact(layout, model, request, engine)
    require_whole(artifact)
    say(f"{model.name} runs from {artifact.file}, exported {artifact.manifest.created}")
    _say_random(model, artifact.manifest.source.weights, say=say)
    return EngineFile(
        engine=engine,
        file=artifact.file,
        sha256=artifact.manifest.sha256,
        manifest=artifact.manifest,
        code=describe_code(model.folder),
    )


def check_engine(model: Model, request: RunRequest) -> None:
    """Refuse what no engine can do, before anything is looked up.

    Raises:
        UsageError: the model has no `network.py`, or another option sets what the file already decides.
    """
    require_network(model)
    _check_gpus(parse_engine(str(request.engine)).runtime, request)
    told = f"--engine {request.engine}"
    if request.runtime is not None:
        raise UsageError(f"{told} chooses the runtime, and --runtime {request.runtime} too", hint="leave --runtime out")
    if request.precision != AUTHORS:
        raise UsageError(
            f"{told}: the precision is the file's, not --precision {request.precision}",
            hint=f"admlops export {model.name} --precision fp32   # then run without --precision",
        )


def _check_gpus(runtime: Runtime, request: RunRequest) -> None:
    """Raise UsageError where no GPU of this machine can run a runtime that needs one."""
    if runtime.capability is None:
        return
    told = f"--engine {request.engine}"
    instead = "the same command with --engine onnx: ONNX Runtime runs the same file here"
    gpus = () if request.device == "cpu" else detect_gpus()
    if not gpus:
        raise UsageError(f"{told} needs an NVIDIA GPU, and none is visible, or --device is cpu", hint=instead)
    for gpu in gpus:
        if gpu.compute_capability is not None and gpu.compute_capability < runtime.capability:
            has, wants = (".".join(map(str, one)) for one in (gpu.compute_capability, runtime.capability))
            raise UsageError(
                f"{told}: {gpu.name} has compute capability {has}, and TensorRT wants {wants} or more", hint=instead
            )
        if gpu.driver and runtime.driver and Version(gpu.driver) < Version(runtime.driver):
            raise UsageError(
                f"{told}: NVIDIA's driver is {gpu.driver}, and its packages want {runtime.driver} or later",
                hint=instead,
            )


def is_executed_so(model: Model, engine: str) -> bool:
    """Tell whether a model's own adapter executes its network by the runtime that an engine means, without a file."""
    asked = parse_engine(engine)
    return model.runtime == asked.runtime.id and asked.file is None and not (model.folder / FILE_NAME).is_file()


def engine_for(model: Model, engine: str | None) -> str | None:
    """Return the engine that a check of a model takes: None for one whose adapter executes its network so already."""
    return None if engine is not None and is_executed_so(model, engine) else engine


def require_network(model: Model) -> None:
    """Raise UsageError unless the model says which part of it can be exported."""
    own = RUNTIMES.get(model.runtime)
    if own.engine and not (model.folder / FILE_NAME).is_file():
        raise UsageError(
            f"{model.name}'s adapter executes its network by {own.package} already: a run without --engine is what "
            f"--engine {own.engine} would be, and there is nothing to export or to verify",
            hint=f"admlops run {model.name}",
        )
    if model.not_exported is not None:
        raise UsageError(
            f"{model.name} cannot leave PyTorch: {model.not_exported}",
            hint=f"admlops run {model.name}   # without --engine: the model itself",
        )
    if not (model.folder / FILE_NAME).is_file():
        raise UsageError(
            f"{model.name} cannot leave PyTorch: {model.folder} has no {FILE_NAME}",
            hint="docs/export.md says how one is written; admlops run without --engine runs the model itself",
        )


def provide_packages(
    layout: Layout, runtime: Runtime, environment: Environment, *, device: Device, say: Say
) -> RuntimePackages:
    """Give the packages that a runtime needs: the model's own, else those of a tool's environment, built if need be.

    Raises:
        EnvError: there is none for this device, or its Python differs from the model's.
    """
    own = site_packages(environment)
    versions = _versions(own)
    if runtime.package in versions:
        return RuntimePackages(versions={runtime.package: versions[runtime.package]})
    if device not in runtime.tools:
        raise EnvError(
            f"the runtime {runtime.id} has no packages for {device}",
            hint="admlops run … --device cpu   # or without --engine",
        )
    _require_lock(layout, runtime, device)
    tool = ensure_tool(layout, runtime.tools[device], say=say)
    folder = site_packages(tool)
    if folder.parent.name != own.parent.name:
        raise EnvError(
            f"{tool.name} is for {folder.parent.name}, and {environment.name} has {own.parent.name}",
            hint="run another variant of the model: admlops models show MODEL",
        )
    found = _versions(folder)
    endings = ("", "-gpu", "-cu12", "-cu13")
    name = next(one for one in found if one in [runtime.package + ending for ending in endings])
    return RuntimePackages(path=(str(folder),), versions={name: found[name]})


def _require_lock(layout: Layout, runtime: Runtime, device: Device) -> None:
    """Raise EnvError for packages that nobody could lock; the folder's requirements.in says why, and how to."""
    folder = layout.envs / "tools" / runtime.tools[device]
    if not (folder / "requirements.txt").is_file():
        raise EnvError(
            f"the packages of {runtime.id} are not locked: {folder} has no requirements.txt, because a part of them is "
            "on NVIDIA's own index alone",
            hint=f"less {folder / 'requirements.in'}   # has the command that locks them where that index is reached",
        )


def site_packages(environment: Environment) -> Path:
    """Return the folder of an environment's packages. Raises EnvError where it has none."""
    found = sorted(environment.prefix.glob("lib/python3.*/site-packages"))
    if not found:
        raise EnvError(
            f"{environment.prefix} has no folder of packages", hint=f"admlops env repair {environment.prefix.name}"
        )
    return found[-1]


def _versions(folder: Path) -> dict[str, str]:
    return {canonicalize_name(one.name): one.version for one in distributions(path=[str(folder)])}


def _say_random(model: Model, weights: str | None, *, say: Say) -> None:
    """Say before a run what its numbers are worth, as is said of PyTorch's own network."""
    if weights is not None:
        say(f"{weights}: the file's weights are random, so the results say nothing about {model.name}")


def _of_file(model: Model, request: RunRequest, engine: Engine, file: Path, *, say: Say) -> EngineFile:
    """Return a file by its path, with the manifest beside it if that describes this very file.

    A file that is named is taken whatever code exported it. A change of the code since is said; the file's runs then
    count as not verified until it is verified again.
    """
    sha256 = file_sha256(file)
    beside = file.parent / MANIFEST_FILE
    manifest = read_manifest(beside) if beside.is_file() else None
    if manifest is not None and manifest.sha256 != sha256:
        manifest = None
    if manifest is not None and manifest.model != model.name:
        raise UsageError(
            f"{file} is the network of {manifest.model}, not of {model.name}",
            hint=f"admlops run {manifest.model} --engine {shlex.quote(str(file))}",
        )
    if manifest is None:
        _say_unknown(request, file, say=say)
    else:
        require_fit(manifest, model, request, file)
        _say_random(model, manifest.source.weights, say=say)
    if manifest is not None and not is_of_this_code(manifest, model):
        say(f"{file}: the code in {model.folder} has changed since the export; admlops verify says if both still fit")
    code = describe_code(model.folder)
    return EngineFile(engine=engine, file=file, sha256=sha256, manifest=manifest, code=code)


def _say_unknown(request: RunRequest, file: Path, *, say: Say) -> None:
    """Say that nothing but the caller's word tells what a file without a manifest holds."""
    named = request.checkpoint or request.weights or request.config
    if named is not None:
        say(f"{file}: no manifest says what it was exported of; {named} is taken at your word")
