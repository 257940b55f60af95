"""The deployment that a config file asks for: every key is honoured, or refused by name, with its line.

The keys are those of AWML's deployment configs, in both their forms: `export`, `runtime_io`, `onnx_config`,
`backend_config` (or `tensorrt_config`), `evaluation` (or `verification` beside it), `codebase_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from admlops.core.errors import UsageError
from admlops.deployment.engines import AUTO

Mode = Literal["onnx", "trt", "both", "none"]
MODES: tuple[Mode, ...] = ("onnx", "trt", "both", "none")
PYTORCH, ONNX, TENSORRT = "pytorch", "onnx", "tensorrt"
BACKENDS = (PYTORCH, ONNX, TENSORRT)
POLICIES: Mapping[str, str] = {
    "auto": AUTO,
    "fp32": "fp32",
    "fp32_tf32": "fp32_tf32",
    "fp16": "fp16",
    "int8": "int8",
    "explicit_int8": "int8",
    "strongly_typed": AUTO,
}
"""`precision_policy` → `--precision`. The precision is a property of the file: another precision is another file."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The shapes of one input that an engine is built for: the least, the usual and the largest."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a config file asks for.

    `backend` is what `backend_config.type` says. `inputs` and `outputs` are the file's names of the network's tensors,
    in order. `profiles` and `dynamic_axes` are keyed by those names. `models` are the files that `evaluation` names, by
    backend; None for those just exported. `words` says what keys without an effect mean here; `lines` is the line of
    every key. `keys` is the key that gave a field its value; for each of `models` the field is `models.BACKEND`.
    """

    file: Path
    mode: Mode = "both"
    backend: str | None = None
    verify: bool = False
    device: str | None = None
    work_dir: Path | None = None
    save_file: str = "network.onnx"
    checkpoint: str | None = None
    onnx_file: Path | None = None
    info_file: str | None = None
    opset: int | None = None
    precision: str = AUTO
    workspace_bytes: int | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dynamic_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    evaluate: bool = False
    samples: int | None = None
    models: Mapping[str, str | None] = field(default_factory=dict)
    frames: int | None = None
    words: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def refuse(self, key: str, problem: str, instead: str) -> UsageError:
        """Return the error for a key, with the file and the line."""
        return refuse_key(self.file, self.lines, key, problem, instead)

    @property
    def exports(self) -> bool:
        """Whether a network is exported."""
        return self.mode in ("onnx", "both")

    @property
    def judges(self) -> bool:
        """Whether anything runs over samples to be judged."""
        return self.verify or self.evaluate

    @property
    def engines(self) -> tuple[str, ...]:
        """Return the backends besides PyTorch that `evaluation` names."""
        return tuple(backend for backend in self.models if backend != PYTORCH)

    @property
    def made(self) -> tuple[str, ...]:
        """Return the backends that `export.mode` makes engines for."""
        return {"onnx": (ONNX,), "both": (ONNX, TENSORRT), "trt": (TENSORRT,), "none": ()}[self.mode]

    @property
    def verified(self) -> tuple[str, ...]:
        """Return the backends whose engines are verified."""
        if not self.verify:
            return ()
        return self.engines if self.mode == "none" else self.made

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Return the backends that are evaluated."""
        return (tuple(self.models) or self.made) if self.evaluate else ()

    @property
    def wants_tensorrt(self) -> bool:
        """Whether anything of it needs TensorRT."""
        return TENSORRT in (*self.made, *self.verified, *self.evaluated)

    @property
    def judges_models(self) -> bool:
        """Whether the files that `evaluation` names are evaluated, or verified because nothing is made."""
        return self.evaluate or (self.verify and self.mode == "none")


def refuse_key(file: Path, lines: Mapping[str, int], key: str, problem: str, instead: str) -> UsageError:
    """Return the error for a key, with the file and the line of the key, or else of the section that lacks it."""
    at = key
    while at and at not in lines:
        at = at.rpartition(".")[0]
    return UsageError(f"{file}:{lines.get(at, 1)}: {key}: {problem}", hint=instead)
