"""What a person means by `--engine`: `onnx`, `tensorrt:fp16`, `tensorrt:FILE.onnx`, or a file, `network.onnx`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from admlops.catalog.registries import RUNTIMES
from admlops.catalog.runtimes import Runtime
from admlops.core.errors import UsageError
from admlops.core.paths import user_path

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "fp32_tf32", "fp16", "int8")
"""`auto` and `fp32_tf32` are the exported float32 file with TF32 allowed, `fp32` the same without it."""
AT = "@"
"""Between a model's name and an engine, as in `MapTR@onnx`."""
COLON = ":"
"""Between a model's name and its weights, as in `CalibrationStatus:student`."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What executes a network in PyTorch's place: a runtime, and a file or the precision of one."""

    runtime: Runtime
    precision: str = AUTO
    file: Path | None = None

    @property
    def kind(self) -> str:
        """What `--engine` calls the runtime."""
        return self.runtime.engine


def parse_engine(text: str) -> Engine:
    """Read `--engine`.

    Raises:
        UsageError: it names no engine, or a missing file.
    """
    known = {one.engine: one for one in RUNTIMES.values() if one.engine}
    kind, colon, precision = text.partition(":")
    if kind in known:
        if precision.endswith(known[kind].suffixes):
            return Engine(runtime=known[kind], file=_existing(text, user_path(precision)))
        if colon and precision not in PRECISIONS:
            raise UsageError(
                f"--engine {text}: {precision or 'nothing'} is not one of: {', '.join(PRECISIONS)}",
                hint=f"pass --engine {kind}",
            )
        return Engine(runtime=known[kind], precision=precision or AUTO)
    # The runtime that is registered first for an ending opens a file that is named alone.
    suffixes = {suffix: one for one in reversed(known.values()) for suffix in one.suffixes}
    path = user_path(text)
    if path.suffix not in suffixes:
        raise UsageError(
            f"--engine {text} is neither one of {', '.join(known)} nor a file of theirs ({', '.join(suffixes)})",
            hint="pass --engine onnx, or the path of a file",
        )
    return Engine(runtime=suffixes[path.suffix], file=_existing(text, path))


def _existing(text: str, path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"--engine {text}: there is no such file", hint="admlops exported list")
    return path.resolve()


def split_contender(name: str) -> tuple[str, str | None]:
    """Split `MapTR@onnx:fp16` into the model's name and its engine; None for a model as it is."""
    model, at, engine = name.partition(AT)
    if at and not engine:
        raise UsageError(f"{name} names no engine behind the @", hint=f"write {model}, or {model}@onnx")
    return model, engine or None


def split_checkpoint(name: str) -> tuple[str, str | None]:
    """Split `CalibrationStatus:student` into the model's name and its weights; None for the usual ones.

    An engine behind an `@` is left out.

    Raises:
        UsageError: no weights follow the `:`, or an engine is named too, whose file has weights of its own.
    """
    model, engine = split_contender(name)
    model, colon, checkpoint = model.partition(COLON)
    if colon and not checkpoint:
        raise UsageError(f"{name} names no weights behind the {COLON}", hint=f"admlops checkpoints list {model}")
    if checkpoint and engine:
        raise UsageError(
            f"{name} names weights and an engine, and an exported file has its own weights",
            hint=f"admlops export {model} --checkpoint {checkpoint}; then {model}@FILE.onnx",
        )
    return model, checkpoint or None
