"""What a person means by `--engine`: `onnx`, `tensorrt:fp16`, or a file such as `network.onnx`."""

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


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What is to execute a network in PyTorch's place: a runtime, and a file or the precision of one."""

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
        UsageError: it is no engine, or a file that is not there.
    """
    known = {one.engine: one for one in RUNTIMES.values() if one.engine}
    kind, colon, precision = text.partition(":")
    if kind in known:
        if colon and precision not in PRECISIONS:
            raise UsageError(
                f"--engine {text}: {precision or 'nothing'} is not one of: {', '.join(PRECISIONS)}",
                hint=f"pass --engine {kind}",
            )
        return Engine(runtime=known[kind], precision=precision or AUTO)
    suffixes = {suffix: one for one in known.values() for suffix in one.suffixes}
    path = user_path(text)
    if path.suffix not in suffixes:
        raise UsageError(
            f"--engine {text} is neither one of {', '.join(known)} nor a file of theirs ({', '.join(suffixes)})",
            hint="pass --engine onnx, or the path of a file",
        )
    if not path.is_file():
        raise UsageError(f"--engine {text}: there is no such file", hint="admlops exported list")
    return Engine(runtime=suffixes[path.suffix], file=path.resolve())


def split_contender(name: str) -> tuple[str, str | None]:
    """Split `MapTR@onnx:fp16` into the model's name and its engine; None for a model as it is."""
    model, at, engine = name.partition(AT)
    if at and not engine:
        raise UsageError(f"{name} names no engine behind the @", hint=f"write {model}, or {model}@onnx")
    return model, engine or None
