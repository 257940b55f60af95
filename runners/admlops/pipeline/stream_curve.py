"""A run over inputs at 12 Hz under other latencies: a multiple of its own, or those of another device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from admlops.catalog.registries import EVALUATIONS
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.datasets.base import STREAM, open_data
from admlops.evaluation.base import Evaluation
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.evaluate import CACHE, draw_scenes
from admlops.evaluation.run_outputs import read_outputs
from admlops.evaluation.statistics.bootstrap import Resampling, Scenes, interval
from admlops.evaluation.streaming.detection import StreamingResult, evaluate_streaming
from admlops.evaluation.streaming.maps import StreamingMap, evaluate_streaming_map
from admlops.evaluation.streaming.options import STRATEGIES, StreamOptions
from admlops.evaluation.vector_map.element_table import ElementTable
from admlops.results.run_folder import RunFolder

FACTORS = (Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4))
"""Of a curve: 0 is the offline value on the annotations at 12 Hz."""
SHOWN_EVALUATIONS = ("streaming", "streaming_map")
MAX_LATENCY_S = 3600


def read_latencies(path: Path) -> list[int]:
    """Read a list of latencies [ms], one a line, or a JSON list of numbers; returns them in microseconds.

    Raises:
        UsageError: the file is no such list, or a number is not above 0.
    """
    hint = "write one latency in milliseconds a line, such as 83.5   # or a JSON list of them"
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise UsageError(f"--latencies {path} cannot be read: {error}", hint=hint) from error
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else [float(line) for line in text.split()]
        values = [float(value) for value in found]
    except (ValueError, TypeError) as error:
        raise UsageError(f"--latencies {path} is no list of numbers: {error}", hint=hint) from error
    wrong = next((value for value in values if not 0 < value < 1e3 * MAX_LATENCY_S or math.isnan(value)), None)
    if wrong is not None or not values:
        raise UsageError(
            f"--latencies {path} holds {'no number' if not values else f'{wrong:g}, which is no latency'}", hint=hint
        )
    return [round(1e3 * value) for value in values]


def stream_curve(
    layout: Layout, run: RunFolder, options: StreamOptions, factors: Sequence[Fraction] = FACTORS
) -> list[dict[str, Any]]:
    """Return the streaming values of a run at each factor of its latencies, by protocol.

    Raises:
        UsageError: the run is not one over inputs at 12 Hz, or its records hold nothing that is streamed.
        DataError: annotations or maps are missing.
    """
    data = open_data(Path(run.header.data.root), run.header.data.version, wanted=run.header.data.kinds)
    if STREAM not in data.capabilities:
        raise UsageError(
            f"run {run.header.run} is over key frames at 2 Hz, which are no stream",
            hint=f"admlops run {run.header.model} --stream   # or: admlops evaluate {run.header.run} "
            "--protocol staleness.2hz-velocity",
        )
    context = Context(run=run, data=data, cache=layout.repository / CACHE)
    wanted = [cast("Evaluation", EVALUATIONS.get(name)) for name in SHOWN_EVALUATIONS]
    outputs = read_outputs(context, wanted)
    if not outputs.accumulators:
        raise UsageError(
            f"the records of run {run.header.run} hold neither boxes in space nor map elements",
            hint=f"admlops models show {run.header.model}",
        )
    scenes, resampling = draw_scenes(context)
    rows = []
    for factor in factors:
        asked = replace(options, factor=factor)
        rows += [
            _row(base, one, factor, scenes, resampling)
            for base, one in _results(outputs.accumulators, context, asked).items()
        ]
    return rows


def _results(
    accumulators: Mapping[str, Any], context: Context, options: StreamOptions
) -> dict[str, StreamingResult | StreamingMap]:
    """By protocol, without what `options` put behind its name."""
    found: dict[str, StreamingResult | StreamingMap] = {}
    for name, accumulator in accumulators.items():
        protocol = EVALUATIONS.get(name).protocol
        if isinstance(accumulator, BoxTable):
            for strategy in STRATEGIES:
                own = f"{protocol.removesuffix('.copy')}.{strategy}"
                found[own] = evaluate_streaming(accumulator, context, protocol=own, strategy=strategy, options=options)
        elif isinstance(accumulator, ElementTable):
            found[protocol] = evaluate_streaming_map(accumulator, context, protocol=protocol, options=options)
    return found


def _row(
    base: str, result: StreamingResult | StreamingMap, factor: Fraction, scenes: Scenes, resampling: Resampling
) -> dict[str, Any]:
    found = {} if resampling.weights is None else result.resample(scenes, resampling.weights)
    return {
        "factor": float(factor),
        "protocol": result.protocol,
        "base": base,
        **result.pairing.to_json(),
        "metrics": result.values,
        "intervals": {name: interval(values) for name, values in found.items()},
    }


def describe_curve(run: RunFolder, options: StreamOptions, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a curve with what it was made of: the form in JSON, and what the page shows."""
    header = run.header
    return {
        "run": header.run,
        "model": header.model,
        "device": None if header.device is None else header.device.name,
        "synthetic": header.data.synthetic,
        "simulation": options.to_json(),
        "rows": list(rows),
    }
