"""The keys of deployment configs: what each means here, and what stands in for those that are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.deployment.deploy_config import BACKENDS, MODES, ONNX, POLICIES, PYTORCH, TENSORRT, Profile
from admlops.deployment.deploy_draft import Draft
from admlops.deployment.literals import Value

LONGEST_NAME = 200
"""Bytes that the name of a file may have here; file systems allow 255, and the copy has a longer name at first."""
SECTIONS = (
    "export",
    "runtime_io",
    "onnx_config",
    "backend_config",
    "backend_config.common_config",
    "tensorrt_config",
    "evaluation",
    "verification",
    "codebase_config",
)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key that is honoured: what it means, and what takes its value into the draft."""

    means: str
    take: Callable[[Draft, str, Value], None]


Take = Callable[[Draft, str, Value], None]


def _typed(name: str, kind: type, *, optional: bool = False) -> Take:
    """Take a value of one type into the field `name`."""

    def take(draft: Draft, key: str, value: Value) -> None:
        given = value.plain
        if given is None and optional:
            return
        if type(given) is not kind:
            raise draft.refuse(key, f"{given!r} is no {kind.__name__}", f"write a value of the type {kind.__name__}")
        draft.keep(name, key, given)

    return take


def _positive(name: str) -> Take:
    def take(draft: Draft, key: str, value: Value) -> None:
        _typed(name, int)(draft, key, value)
        if value.plain < 1:
            raise draft.refuse(key, f"{value.plain} is less than 1", "write 1 or more")

    return take


def _path(name: str) -> Take:
    def take(draft: Draft, key: str, value: Value) -> None:
        given = value.plain
        if given is None:
            return
        if not isinstance(given, str) or not given:
            raise draft.refuse(key, f"{given!r} is no path", f'write {key.rpartition(".")[2]}="PATH"')
        draft.keep(name, key, _expand(draft, key, given))

    return take


def _expand(draft: Draft, key: str, given: str) -> Path:
    """Return a path with its `~` replaced by the home folder."""
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise draft.refuse(key, f"{given!r}: nobody here has that home folder", "write the path in full") from error


def _onnx_path(draft: Draft, key: str, value: Value) -> None:
    _path("onnx_file")(draft, key, value)
    if value.plain is not None and not value.plain.endswith(".onnx"):
        raise draft.refuse(key, f"{value.plain!r} is no ONNX file", f'write {key.rpartition(".")[2]}="network.onnx"')


def _weights(draft: Draft, key: str, value: Value) -> None:
    """Take weights: a name of the catalogue, or a file."""
    given = value.plain
    if given is None:
        return
    if not isinstance(given, str) or not given:
        raise draft.refuse(key, f"{given!r} names no weights", f'write {key}="PATH"')
    draft.keep("checkpoint", key, _expand_weights(draft, key, given))


def _expand_weights(draft: Draft, key: str, given: str) -> str:
    return str(_expand(draft, key, given)) if given.startswith("~") else given


def _only(wanted: Any, instead: str) -> Take:
    """Take only one value: the one that always holds here."""

    def take(draft: Draft, key: str, value: Value) -> None:
        if value.plain != wanted or type(value.plain) is not type(wanted):
            raise draft.refuse(key, f"{value.plain!r} is not done here, only {wanted!r}", instead)

    return take


def _word(text: str) -> Take:
    """Take any value, and say what it means here."""

    def take(draft: Draft, key: str, value: Value) -> None:
        draft.say(key, text)

    return take


def _mode(draft: Draft, key: str, value: Value) -> None:
    if value.plain not in MODES:
        raise draft.refuse(key, f"{value.plain!r} is not one of {', '.join(MODES)}", 'write mode="onnx"')
    draft.keep("mode", key, value.plain)


def _device(draft: Draft, key: str, value: Value) -> None:
    given = str(value.plain)
    if not re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]{0,3}))?", given):
        raise draft.refuse(key, f"{value.plain!r} is no device", 'write device="cuda:0" or device="cpu"')
    draft.keep("device", key, "cuda:0" if given == "cuda" else given)


def _file_name(draft: Draft, key: str, value: Value) -> None:
    given = str(value.plain)
    if Path(given).name != given or not given.endswith(".onnx") or len(os.fsencode(given)) > LONGEST_NAME:
        raise draft.refuse(key, f"{given!r} is no name of an ONNX file", 'write save_file="end2end.onnx"')
    draft.keep("save_file", key, given)


def _sample(draft: Draft, key: str, value: Value) -> None:
    if value.plain != 0:
        raise draft.refuse(
            key, f"{value.plain!r}: the first samples of the selection are taken", "pass --scene NAME or --tokens FILE"
        )


def _names(name: str) -> Take:
    def take(draft: Draft, key: str, value: Value) -> None:
        given = value.plain
        if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
            raise draft.refuse(key, f"{given!r} is no list of names", 'write ["input"]')
        twice = next((one for one in given if given.count(one) > 1), None)
        if twice is not None:
            raise draft.refuse(key, f"{twice!r} names two tensors", "write a name of its own for each")
        draft.keep(name, key, tuple(given))

    return take


def _axes(draft: Draft, key: str, value: Value) -> None:
    given = value.plain or {}
    fits = isinstance(given, dict) and all(
        isinstance(axes, dict) and all(type(at) is int and isinstance(name, str) for at, name in axes.items())
        for axes in given.values()
    )
    if not fits:
        raise draft.refuse(key, "this is not {tensor: {axis: name}}", 'write {"input": {0: "batch_size"}}')
    draft.keep("dynamic_axes", key, given)


def _lengths(draft: Draft, key: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not given or not all(type(one) is int and one > 0 for one in given):
        raise draft.refuse(key, f"{given!r} is no shape", "write positive lengths: [1, 5, 64, 112]")
    return tuple(given)


def _input_shape(draft: Draft, key: str, value: Value) -> None:
    if value.plain is not None:
        draft.keep("input_shape", key, _lengths(draft, key, value.plain))


def _policy(draft: Draft, key: str, value: Value) -> None:
    given = str(value.plain)
    if given not in POLICIES:
        raise draft.refuse(key, f"{given!r} is not one of {', '.join(POLICIES)}", 'write precision_policy="auto"')
    draft.keep("precision", key, POLICIES[given])
    if given == "strongly_typed":
        draft.say(key, "every engine is strongly typed: the file's own types decide, here float32")


def _backend(draft: Draft, key: str, value: Value) -> None:
    if value.plain not in ("tensorrt", "onnxruntime"):
        raise draft.refuse(key, f"{value.plain!r} is no backend here", 'write type="tensorrt" or type="onnxruntime"')
    draft.keep("backend", key, value.plain)


def _model_inputs(draft: Draft, key: str, value: Value) -> None:
    if not isinstance(value.content, list) or len(value.content) != 1:
        raise draft.refuse(key, "one network has one dictionary of inputs", "write [dict(input_shapes=dict(...))]")
    inner = value.content[0].plain
    shapes = inner.get("input_shapes") if isinstance(inner, dict) and set(inner) == {"input_shapes"} else None
    if not isinstance(shapes, dict):
        raise draft.refuse(
            key, "the dictionary has input_shapes, and nothing else", "write [dict(input_shapes=dict(...))]"
        )
    draft.keep("profiles", key, {str(name): _profile(draft, key, name, one) for name, one in shapes.items()})


def _profile(draft: Draft, key: str, name: Any, given: Any) -> Profile:
    wanted = ("min_shape", "opt_shape", "max_shape")
    if not isinstance(given, dict) or set(given) != set(wanted):
        raise draft.refuse(key, f"{name} has not exactly {', '.join(wanted)}", "write all three")
    least, usual, largest = (_lengths(draft, key, given[one]) for one in wanted)
    ordered = len({len(least), len(usual), len(largest)}) == 1 and all(
        low <= middle <= high for low, middle, high in zip(least, usual, largest, strict=False)
    )
    if not ordered:
        raise draft.refuse(key, f"{name}: min_shape ≤ opt_shape ≤ max_shape does not hold", "mend the lengths")
    return Profile(least=least, usual=usual, largest=largest)


def _models(draft: Draft, key: str, value: Value) -> None:
    given = value.content
    names = [one.plain for one in given] if isinstance(given, list) else given
    if not isinstance(names, (list, dict)) or not all(one in BACKENDS for one in names):
        raise draft.refuse(key, f"the backends are {', '.join(BACKENDS)}", 'write models=dict(onnx="network.onnx")')
    if not names:
        raise draft.refuse(key, "this names no backend", "remove it, or write evaluation = dict(enabled=False)")
    for backend in names:
        if isinstance(given, dict):
            draft.lines[f"{key}.{backend}"] = given[backend].line
            _add_model(draft, f"{key}.{backend}", backend, given[backend].plain)
        else:
            draft.listed.setdefault(backend, key)


def _model(backend: str) -> Take:
    def take(draft: Draft, key: str, value: Value) -> None:
        if value.plain is not None:
            _add_model(draft, key, backend, value.plain)

    return take


def _add_model(draft: Draft, key: str, backend: str, path: Any) -> None:
    written = key.rpartition(".")[2]
    if path is not None and (not isinstance(path, str) or not path):
        raise draft.refuse(key, f"{path!r} is no path", f'write {written}="PATH", or {written}=None')
    if path is not None and backend == PYTORCH:
        path = _expand_weights(draft, key, path)
    elif path is not None and path.endswith(".onnx"):
        path = str(_expand(draft, key, path))
    elif path is not None and backend == TENSORRT:
        raise draft.refuse(
            key,
            f"{path} is an engine, which only the machine that built it can use: engines are built of the ONNX file",
            f'write {written}="network.onnx", the file that it was built of',
        )
    elif path is not None:
        raise draft.refuse(key, f"{path} is no ONNX file", f'write {written}="network.onnx"')
    draft.keep_model(backend, key, path)


_COPY = "the folder that a copy of the file and its manifest goes to"
_ALIASES = "other names for the network's own, in order; the file keeps the network's"
_VERIFY = "`admlops verify` of every engine that was made; for `none`, of every one in `evaluation.models`"
_TOOLBOX = "accepted and said: no toolbox takes part, the model is the one on the command line"

TAKEN: Mapping[str, Key] = {
    "checkpoint_path": Key(means="`--checkpoint`", take=_weights),
    "export.mode": Key(means="`onnx`; `both`: then TensorRT; `trt`: of `runtime_io.onnx_file`; `none`", take=_mode),
    "export.verify": Key(means=_VERIFY, take=_typed("verify", bool)),
    "export.device": Key(means="`--device` of runs and verifications; the export itself is on the CPU", take=_device),
    "export.work_dir": Key(means=_COPY, take=_path("work_dir")),
    "export.onnx_path": Key(means="as `runtime_io.onnx_file`", take=_onnx_path),
    "runtime_io.info_pkl": Key(
        means="`--data` must stand in for it: reading a pickle runs code", take=_typed("info_file", str, optional=True)
    ),
    "runtime_io.info_file": Key(means="as `runtime_io.info_pkl`", take=_typed("info_file", str, optional=True)),
    "runtime_io.sample_idx": Key(
        means="0: the first sample of the selection; others by `--scene`, `--tokens`", take=_sample
    ),
    "runtime_io.onnx_file": Key(
        means="the file that `trt` builds an engine of; no other mode takes one", take=_onnx_path
    ),
    "onnx_config.type": Key(means='"onnx"', take=_only("onnx", 'write type="onnx"')),
    "onnx_config.export_params": Key(means="True: the file holds the weights", take=_only(True, "remove it")),
    "onnx_config.keep_initializers_as_inputs": Key(means="False", take=_only(False, "remove it")),
    "onnx_config.opset_version": Key(means="`--opset`", take=_positive("opset")),
    "onnx_config.do_constant_folding": Key(means="True", take=_only(True, "remove it")),
    "onnx_config.simplify": Key(
        means="True: onnxslim, where it changes no bit",
        take=_only(True, "remove it: the file is slimmed only where every output stays the same bit for bit"),
    ),
    "onnx_config.save_file": Key(means="the copy's name in `export.work_dir`", take=_file_name),
    "onnx_config.input_names": Key(means=_ALIASES, take=_names("inputs")),
    "onnx_config.output_names": Key(means=_ALIASES, take=_names("outputs")),
    "onnx_config.dynamic_axes": Key(means="these axes must be dynamic in the network", take=_axes),
    "onnx_config.input_shape": Key(means="the last lengths of the first input must be these", take=_input_shape),
    "backend_config.type": Key(means="`tensorrt` or `onnxruntime`", take=_backend),
    "backend_config.common_config.precision_policy": Key(means="`--precision`", take=_policy),
    "backend_config.common_config.max_workspace_size": Key(
        means="the builder's workspace [bytes]", take=_positive("workspace_bytes")
    ),
    "backend_config.model_inputs": Key(means="the builder's optimisation profile", take=_model_inputs),
    "tensorrt_config.precision_policy": Key(means="as in `backend_config.common_config`", take=_policy),
    "tensorrt_config.max_workspace_size": Key(
        means="as in `backend_config.common_config`", take=_positive("workspace_bytes")
    ),
    "evaluation.enabled": Key(
        means="`admlops run` and `admlops evaluate` of every engine", take=_typed("evaluate", bool)
    ),
    "evaluation.num_samples": Key(means="`--limit`", take=_positive("samples")),
    "evaluation.verbose": Key(
        means="accepted and said: every sample's record is in the run folder",
        take=_word("every sample's record is in the run folder, whatever this says"),
    ),
    "evaluation.models": Key(means="what to evaluate: backend → file; None: what was exported", take=_models),
    "evaluation.models_to_evaluate": Key(means="the same as a list of backends", take=_models),
    "evaluation.onnx_model": Key(means="as `models.onnx`", take=_model(ONNX)),
    "evaluation.tensorrt_model": Key(means="as `models.tensorrt`", take=_model(TENSORRT)),
    "verification.enabled": Key(means="as `export.verify`", take=_typed("verify", bool)),
    "verification.num_verify_samples": Key(means="`--frames` of `admlops verify`", take=_positive("frames")),
    "codebase_config.type": Key(means=_TOOLBOX, take=_word("no toolbox takes part here")),
    "codebase_config.task": Key(means=_TOOLBOX, take=_word("the model's own tasks are evaluated")),
    "codebase_config.model_type": Key(
        means='"end2end": one file', take=_only("end2end", "write end2end; admlops export MODEL --form FORM for others")
    ),
}
"""Every key that is honoured."""

REFUSED: Mapping[str, tuple[str, str]] = {
    "_base_": ("a file that is read without executing it inherits from none", "write all values into this file"),
    "model_io": ("shapes and types are the model's own", "write onnx_config.input_names and dynamic_axes, or nothing"),
    "components": ("a network of several parts is one form of the model's", "admlops export MODEL --form FORM"),
    "devices": ("one device is named", 'write export = dict(device="cuda:0")'),
    "task_type": ("the model's own tasks are evaluated", "remove it"),
    "ir_config": ("this is mmdeploy's", "write onnx_config"),
    "deploy_log_path": ("the log lies beside the exported networks", "remove it; admlops exported list shows where"),
    "backend_config.common_config.fp16_mode": (
        "a precision is a property of the file",
        'write precision_policy="fp16"',
    ),
    "backend_config.common_config.int8_mode": (
        "a precision is a property of the file",
        'write precision_policy="explicit_int8"',
    ),
    "evaluation.backends": ("files are named by backend", 'write models=dict(onnx="FILE")'),
    "evaluation.devices": ("one device is named", 'write export = dict(device="cuda:0")'),
    "verification.tolerance": (
        "bounds follow from the file's arithmetic, and from the metrics",
        "remove it; docs/export.md says the bounds",
    ),
    "verification.scenarios": (
        "every engine is held against PyTorch",
        "remove it; admlops verify MODEL --engine ENGINE",
    ),
    "verification.devices": ("one device is named", 'write export = dict(device="cuda:0")'),
}
"""Keys that are refused: why, and what to use instead."""
