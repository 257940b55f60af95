"""A deployment config as a whole: keys that need or exclude each other, and those without an effect."""

from __future__ import annotations

from collections.abc import Iterator

from admlops.deployment.deploy_config import Deployment

_NEEDED = "evaluation = dict(enabled=True, models=dict(onnx=None))"


def require_whole(deployment: Deployment) -> None:
    """Raise UsageError for keys that need or exclude each other."""
    _require_file(deployment)
    if deployment.mode == "none":
        _require_models(deployment)
    if deployment.mode == "trt" and not deployment.judges:
        raise deployment.refuse(
            "export.mode",
            '"trt" builds an engine to verify or evaluate it, and neither is asked for',
            'write export = dict(mode="trt", verify=True)',
        )
    if deployment.backend == "onnxruntime" and deployment.mode in ("trt", "both"):
        raise deployment.refuse(
            "backend_config.type",
            f'"onnxruntime", and export.mode="{deployment.mode}" makes engines of TensorRT',
            'write type="tensorrt", or export = dict(mode="onnx")',
        )
    unknown = sorted(set(deployment.profiles) - set(deployment.inputs)) if deployment.inputs else []
    if unknown:
        raise deployment.refuse(
            "backend_config.model_inputs",
            f"{unknown[0]} is none of onnx_config.input_names: {', '.join(deployment.inputs)}",
            f"write {deployment.inputs[0]}=dict(min_shape=..., opt_shape=..., max_shape=...)",
        )


def _require_file(deployment: Deployment) -> None:
    """Raise UsageError where `trt` has no file, or another mode has one."""
    mode = deployment.mode
    if mode == "trt" and deployment.onnx_file is None:
        raise deployment.refuse(
            "export.mode", '"trt" builds an engine of a file, and runtime_io.onnx_file names none', 'write mode="both"'
        )
    if mode != "trt" and deployment.onnx_file is not None:
        why = f'export.mode="{mode}" exports a file of its own'
        instead = 'remove it, or write export = dict(mode="trt", verify=True)'
        if mode == "none":
            why, instead = 'export.mode="none" takes the files of evaluation.models', "name it in evaluation.models"
        raise deployment.refuse(deployment.keys["onnx_file"], why, instead)


def _require_models(deployment: Deployment) -> None:
    """Raise UsageError where `none` leaves nothing to evaluate or to verify."""
    if not deployment.judges:
        raise deployment.refuse(
            "export.mode", '"none" exports nothing, and evaluation.enabled is not True', f"write {_NEEDED}"
        )
    if not deployment.models:
        key = "evaluation.enabled" if deployment.evaluate else deployment.keys["verify"]
        raise deployment.refuse(
            key, 'export.mode="none" makes no engine, and evaluation.models names none', f"write {_NEEDED}"
        )
    if deployment.verify and not deployment.engines:
        raise deployment.refuse(
            deployment.keys["verify"],
            "engines are held against PyTorch, and evaluation.models names no engine",
            "add onnx=None to evaluation.models, or remove this key",
        )


def list_idle(deployment: Deployment) -> tuple[str, ...]:
    """Return a remark on every key that has no effect beside the others, in the file's order."""
    keys = deployment.keys
    said = {keys[field]: reason for field, reason in _idle(deployment) if field in keys}
    lines = {key: deployment.lines.get(key, 1) for key in said}
    return tuple(
        f"{deployment.file.name}:{lines[key]}: {key}: {said[key]}" for key in sorted(said, key=lines.__getitem__)
    )


def _idle(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield fields without an effect, and why."""
    mode = deployment.mode
    if not deployment.exports:
        yield from ((field, f'no effect: export.mode="{mode}" exports nothing') for field in _OF_EXPORTS)
    elif deployment.work_dir is None:
        yield "save_file", "no effect: there is no export.work_dir to copy to"
    if mode == "none" and not deployment.engines:
        yield from ((field, "no effect: there is no engine, PyTorch alone is run") for field in _OF_FILES)
    elif not deployment.wants_tensorrt:
        yield "workspace_bytes", "no effect: no TensorRT engine is built"
        yield "profiles", "only held to the network: no TensorRT engine is built"
        if deployment.backend == "tensorrt":
            yield "backend", "no effect: no TensorRT engine is built"
    if not deployment.judges:
        yield "device", "no effect: nothing is verified or evaluated, and exports are on the CPU"
        yield "samples", "no effect: nothing is verified or evaluated"
        if mode == "both":
            yield "mode", "only the ONNX file is made: TensorRT builds engines to verify or evaluate"
        if deployment.precision != "int8":
            yield "info_file", "no effect: no samples are read"
    if not deployment.verify:
        yield "frames", "no effect: no engine is verified"
    if not deployment.judges_models:
        yield from ((f"models.{backend}", "no effect: evaluation.enabled is not True") for backend in deployment.models)


_OF_EXPORTS = ("work_dir", "save_file", "opset")
_OF_FILES = ("backend", "precision", "workspace_bytes", "profiles", "inputs", "outputs", "dynamic_axes", "input_shape")
