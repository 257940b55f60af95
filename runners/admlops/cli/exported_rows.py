"""The rows of `admlops exported list`: what `--engine` takes, of which weights, and what tells a row from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from admlops.deployment.manifest import Manifest, TensorInfo

USUAL_OPSETS: Mapping[str, int] = {"int8": 19}
"""The opset that a precision is written in unless another is asked for; 17 for those that are not here."""
WHOLE_FROM_MB = 10


def spell_engine(manifest: Manifest) -> str:
    """Return what `--engine` takes for a file: `onnx`, `onnx:int8`."""
    from admlops.deployment.engines import AUTO

    return manifest.kind if manifest.precision == AUTO else f"{manifest.kind}:{manifest.precision}"


def spell_size(size_bytes: int) -> str:
    """Return a size [MB] in three characters or so."""
    size_mb = size_bytes / 1e6
    return f"{size_mb:.0f}" if size_mb >= WHOLE_FROM_MB else f"{size_mb:.1f}"


def spell_provider(name: str) -> str:
    """Return `CPU` of `CPUExecutionProvider`."""
    return name.removesuffix("ExecutionProvider")


def tell_apart(found: Sequence[Manifest]) -> list[str]:
    """Return for each export its weights, and what else it has that another export of its model has not.

    That are the configuration, the variant, options and lengths of axes where a model's exports differ in them, an
    opset or a form that is not the usual one, and `older` for one after which the same was exported again, of other
    code: an engine without a file takes the later one.

    Args:
        found: exports, the oldest first.
    """
    said = [", ".join([_spell_weights(one), *_list_differences(one, found)]) for one in found]
    names = [(one.model, spell_engine(one), text) for one, text in zip(found, said, strict=True)]
    return [
        f"{text}, older" if name in names[at + 1 :] else text
        for at, (name, text) in enumerate(zip(names, said, strict=True))
    ]


def _spell_weights(manifest: Manifest) -> str:
    source = manifest.source
    return source.checkpoint or source.weights or (source.checkpoint_sha256 or "")[:12]


def _list_differences(own: Manifest, found: Sequence[Manifest]) -> list[str]:
    from admlops.pipeline.export import DEFAULT_OPSET
    from admlops.worker.network import DEFAULT_FORM

    others = [one for one in found if one.model == own.model]
    alike = [one for one in others if one.source.config == own.source.config]
    parts = [] if len(alike) == len(others) else [Path(own.source.config or "").name]
    parts += [own.source.variant] if any(one.source.variant != own.source.variant for one in others) else []
    parts += [] if own.opset == USUAL_OPSETS.get(own.precision, DEFAULT_OPSET) else [f"opset {own.opset}"]
    parts += [] if own.form == DEFAULT_FORM else [own.form]
    parts += _list_options(own, alike)
    for tensor in own.inputs:
        if any(_shape_of(one, tensor.name) not in (None, tensor.shape) for one in alike):
            parts.append(_spell_shape(tensor))
    return [part for part in parts if part]


def _list_options(own: Manifest, alike: Sequence[Manifest]) -> list[str]:
    """Return the options in which exports of one configuration differ; the weights are said already."""
    return [
        f"{name}={value}"
        for name, value in own.source.options.items()
        if name != "weights" and any(one.source.options.get(name) != value for one in alike)
    ]


def _shape_of(manifest: Manifest, name: str) -> list[int | str] | None:
    return next((one.shape for one in manifest.inputs if one.name == name), None)


def _spell_shape(tensor: TensorInfo) -> str:
    return "×".join(map(str, tensor.shape))
