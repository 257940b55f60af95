"""Names, shapes and dynamic axes of a deployment config, held to what a network has."""

from __future__ import annotations

from collections.abc import Mapping

from admlops.deployment.deploy_config import Deployment
from admlops.deployment.manifest import Manifest, TensorInfo, Tensors


def names_tensors(deployment: Deployment) -> bool:
    """Tell whether a config says anything of the network's tensors."""
    own = (deployment.inputs, deployment.outputs, deployment.dynamic_axes, deployment.profiles)
    return any(own) or deployment.input_shape is not None


def check_tensors(deployment: Deployment, manifest: Manifest | Tensors) -> None:
    """Check names, shapes and dynamic axes of a config against a file's manifest, or against the network itself.

    Raises:
        UsageError: their number differs, an axis is not dynamic, or a length differs: names the line.
    """
    pairs = (
        ("onnx_config.input_names", deployment.inputs, manifest.inputs),
        ("onnx_config.output_names", deployment.outputs, manifest.outputs),
    )
    tensors = {one.name: one for one in (*manifest.inputs, *manifest.outputs)}
    for key, names, own in pairs:
        if names and len(names) != len(own):
            there = ", ".join(one.name for one in own)
            instead = f"write {key.rpartition('.')[2]}={[one.name for one in own]}"
            raise deployment.refuse(key, f"{len(names)} names for {len(own)} tensors: {there}", instead)
        tensors.update(zip(names, own, strict=False))
    for name, axes in deployment.dynamic_axes.items():
        tensor = _tensor(deployment, "onnx_config.dynamic_axes", tensors, name)
        for axis in axes:
            if not -len(tensor.shape) <= axis < len(tensor.shape) or isinstance(tensor.shape[axis], int):
                raise deployment.refuse(
                    "onnx_config.dynamic_axes",
                    f"axis {axis} of {name} is no dynamic one: {tensor.name} is {_shape(tensor)}",
                    f"remove {axis} from {name}",
                )
    for name, profile in deployment.profiles.items():
        tensor = _tensor(deployment, "backend_config.model_inputs", tensors, name)
        for given in (profile.least, profile.usual, profile.largest):
            _require_axes(deployment, "backend_config.model_inputs", tensor, given)
            _require_shape(deployment, "backend_config.model_inputs", tensor, given)
    if deployment.input_shape is not None:
        _require_shape(deployment, "onnx_config.input_shape", manifest.inputs[0], deployment.input_shape)


def _tensor(deployment: Deployment, key: str, tensors: Mapping[str, TensorInfo], name: str) -> TensorInfo:
    if name not in tensors:
        raise deployment.refuse(key, f"there is no tensor called {name}", f"write one of {', '.join(tensors)}")
    return tensors[name]


def _require_axes(deployment: Deployment, key: str, tensor: TensorInfo, given: tuple[int, ...]) -> None:
    """Raise UsageError unless a shape has a length for every axis of the tensor."""
    if len(given) != len(tensor.shape):
        raise deployment.refuse(
            key,
            f"{list(given)} has {len(given)} axes, and {tensor.name} has {len(tensor.shape)}: {_shape(tensor)}",
            f"write {len(tensor.shape)} lengths, the first axis included",
        )


def _require_shape(deployment: Deployment, key: str, tensor: TensorInfo, given: tuple[int, ...]) -> None:
    """Raise UsageError unless `given` are the tensor's last lengths, where those are fixed."""
    own = tensor.shape[-len(given) :]
    if len(given) > len(tensor.shape) or any(
        isinstance(length, int) and length != one for length, one in zip(own, given, strict=False)
    ):
        raise deployment.refuse(
            key, f"{list(given)} is no shape of {tensor.name}, which is {_shape(tensor)}", "write lengths that fit"
        )


def _shape(tensor: TensorInfo) -> str:
    return "×".join(str(axis) for axis in tensor.shape)
