"""Which exported network a request means: by its weights, configuration, variant and precision, and by its code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.storage import file_sha256
from admlops.deployment.artifacts import Artifact, list_artifacts
from admlops.deployment.engines import AUTO, Engine
from admlops.deployment.manifest import ExportSource, Manifest
from admlops.pipeline.config_text import config_sha256
from admlops.pipeline.run_request import RunRequest
from admlops.results.header import FLOAT32_FILES
from admlops.sources.provenance import describe_code
from admlops.worker.write_precision import INT8


def choose_artifact(layout: Layout, model: Model, request: RunRequest, engine: Engine) -> Artifact:
    """Return the newest exported network that fits a request.

    Weights and a configuration that are named must be those that were exported. If no weights are named, exports of
    the catalogue's default weights are taken; without such, any export, provided that all are of the same weights.

    Raises:
        UsageError: there is none, or the model's code has changed since: the code that feeds the file and decodes its
            answer may no longer fit it.
    """
    endings = engine.runtime.suffixes
    own = [one for one in list_artifacts(layout, model.name) if one.manifest.file.endswith(endings)]
    own = [one for one in own if _fits_precision(one.manifest, engine.precision)]
    fitting = [one for one in own if _fits_request(one.manifest, model, request)]
    if request.checkpoint is None and request.weights is None:
        usual = [one for one in fitting if one.manifest.source.checkpoint == model.default_checkpoint]
        others = {(one.manifest.source.checkpoint_sha256, one.manifest.source.weights) for one in fitting}
        fitting = usual or (fitting if len(others) == 1 else [])
    if not fitting:
        raise UsageError(_say_missing(model, request, own), hint=_export_command(model, request, engine))
    same = [one for one in fitting if is_of_this_code(one.manifest, model)]
    if not same:
        raise UsageError(
            f"{fitting[-1].name} was exported {fitting[-1].manifest.created}, and the code in {model.folder} has "
            "changed since: what goes into the file and comes out of it may mean something else now",
            hint=fitting[-1].manifest.export_command,
        )
    return same[-1]


def require_fit(manifest: Manifest, model: Model, request: RunRequest, file: Path) -> None:
    """Raise UsageError if a file that is named was exported of other weights or another configuration."""
    if not _fits_weights(manifest, model, request):
        source = manifest.source
        asked = [f"--{name} {value}" for name, value in _named(request).items()]
        weights = source.checkpoint or source.weights or f"a checkpoint of sha256 {source.checkpoint_sha256}"
        raise UsageError(
            f"{file} was exported of {weights}, config {source.config}, and not of what {' and '.join(asked)} says",
            hint=f"leave {' and '.join(asked)} out; admlops exported list says what there is",
        )


def is_of_this_code(manifest: Manifest, model: Model) -> bool:
    """Tell whether the code now in the model's folder exported a file; a file that does not name its code counts."""
    return manifest.source.code in (None, describe_code(model.folder))


def _fits_precision(manifest: Manifest, asked: str) -> bool:
    if asked == AUTO:
        return manifest.precision in FLOAT32_FILES
    return manifest.precision == asked


def _fits_request(manifest: Manifest, model: Model, request: RunRequest) -> bool:
    """Whether a file is of the weights, the configuration and the variant that a request names."""
    source = manifest.source
    if (
        request.variant is not None
        and request.variant != source.variant
        and request.variant not in list_plain_variants(model)
    ):
        return False
    return _fits_weights(manifest, model, request)


def _fits_weights(manifest: Manifest, model: Model, request: RunRequest) -> bool:
    """Whether a file is of the weights and the configuration that a request names."""
    source = manifest.source
    if request.weights is not None and source.weights != request.weights:
        return False
    if request.config is not None and not _is_config(request.config, source):
        return False
    if request.checkpoint is None:
        return True
    if request.checkpoint in model.checkpoints:
        return source.checkpoint == request.checkpoint
    path = user_path(request.checkpoint)
    return path.is_file() and file_sha256(path) == source.checkpoint_sha256


def _is_config(named: str, source: ExportSource) -> bool:
    """Whether a configuration, a name of the catalogue or a path, is the one that was exported."""
    if named == source.config:
        return True
    path = user_path(named)
    return path.is_file() and source.config_sha256 is not None and config_sha256(str(path)) == source.config_sha256


def list_plain_variants(model: Model) -> set[str]:
    """Return the variants that run exported files alone: they have no PyTorch, so nothing is exported from them."""
    return {name for name, pins in model.variants.items() if "torch" not in pins.smoke}


def _say_missing(model: Model, request: RunRequest, own: Sequence[Artifact]) -> str:
    what = request.checkpoint or request.weights or (f"the config {request.config}" if request.config else "")
    kinds = f" of {what}" if what else ""
    if not own:
        return f"{model.name} has no exported network for --engine {request.engine}"
    there = "; ".join(
        f"{one.name} of {one.manifest.source.checkpoint or one.manifest.source.weights or 'a checkpoint'}"
        for one in own[-3:]
    )
    return f"{model.name} has no single exported network{kinds} for --engine {request.engine}; there are: {there}"


def _export_command(model: Model, request: RunRequest, engine: Engine) -> str:
    words = ["admlops", "export", model.name, "--to", "onnx"]
    if engine.precision != AUTO:
        words += ["--precision", engine.precision]
    if engine.precision == INT8:
        words += ["--calibrate", "SPLIT"]
    if request.variant is not None and request.variant not in list_plain_variants(model):
        words += ["--variant", request.variant]
    for name, value in _named(request).items():
        words += [f"--{name}", value]
    return shlex.join(words)


def _named(request: RunRequest) -> dict[str, str]:
    named = {"checkpoint": request.checkpoint, "weights": request.weights, "config": request.config}
    return {name: value for name, value in named.items() if value is not None}
