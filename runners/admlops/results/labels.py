"""What tables call a run, and the class of precision in which its times compare."""

from __future__ import annotations

from admlops.results.header import FLOAT32_FILES, RunHeader

FILE_DIGITS = 6
"""So much of a file's sha256 tells it from others in a table."""


def label_run(header: RunHeader) -> str:
    """Name a run as tables do: `CalibrationStatus@onnx, random weights, not verified`."""
    return spell_label(
        header.model, engine=header.execution, weights=header.random_weights, unverified=header.unverified_engine
    )


def spell_label(model: str, *, engine: str | None, weights: str | None, unverified: str | None) -> str:
    """Name a run by its model, by what executed the network, and by what makes its numbers doubtful.

    Args:
        weights: `random:SEED` where they were drawn.
        unverified: the engine, where its file was not verified on the machine of the run.
    """
    parts = [f"{model}@{engine}" if engine else model]
    parts += ["random weights"] if weights else []
    parts += ["not verified"] if unverified else []
    return ", ".join(parts)


def find_engine_precision(header: RunHeader) -> str | None:
    """Return what an engine computes in, such as `int8`, where the records cannot say; None for float32 and PyTorch.

    A file without a manifest is a class of its own.
    """
    engine = header.engine or {}
    precision = str(engine.get("precision", FLOAT32_FILES[0]))
    if precision in FLOAT32_FILES:
        return "float32, TF32" if engine.get("build", {}).get("tf32") else None
    return precision if engine.get("artifact") else f"{precision}, file {str(engine.get('sha256'))[:FILE_DIGITS]}"
