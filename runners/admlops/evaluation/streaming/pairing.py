"""Which output each moment of a run's scenes has: the simulation of every scene, one after the other."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.annotations import OF_SAMPLES, Annotations
from admlops.datasets.base import HasStream
from admlops.evaluation.context import Context
from admlops.evaluation.streaming.options import Clock, StreamOptions
from admlops.evaluation.streaming.simulation import NONE, draw_latencies, simulate
from admlops.results.record import Metadata

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Every moment of all scenes, in order.

    Attributes:
        paired: (F,) index of the record whose output a moment has, NONE for none.
        age: (F,) how many moments that output is behind; 0 for none.
        scene: (F,) number of the scene, by the names' order.
        inputs, processed: how many inputs there were, and how many were taken.
        in_time: moments that have the output of their own input.
        latency_us: the latencies that were drawn, for inputs that were taken.
    """

    paired: Integers
    age: Integers
    scene: Integers
    inputs: int
    processed: int
    in_time: int
    latency_us: Sequence[int]

    def to_json(self) -> dict[str, object]:
        """The counts in metrics.json; `mismatch` is the mean of frames that outputs are behind."""
        moments, has = len(self.paired), self.paired != NONE
        drawn = self.latency_us
        return {
            "moments": moments,
            "inputs": self.inputs,
            "processed": self.processed,
            "dropped": self.inputs - self.processed,
            "missed": int((~has).sum()),
            "in_time": self.in_time / moments if moments else None,
            "mismatch": float(self.age[has].mean()) if has.any() else None,
            "mean_latency_ms": statistics.fmean(drawn) / 1e3 if drawn else None,
        }


def scene_rows(metadata: Sequence[Metadata]) -> dict[str, list[int]]:
    """The indices of each scene's records, in order."""
    rows: dict[str, list[int]] = {}
    for index, entry in enumerate(metadata):
        rows.setdefault(entry.scene, []).append(index)
    return rows


def stream_truth(context: Context) -> Annotations:
    """The annotations at 12 Hz of the run's scenes; of a scene that was run in part, as many moments as it has inputs.

    Raises:
        DataError: an annotation is missing or damaged.
    """
    assert isinstance(context.data, HasStream), "an evaluation of streams runs on data that has them"
    data = context.data

    def make() -> Annotations:
        rows = scene_rows(context.metadata)
        whole = {scene.name: len(scene.samples) for scene in context.data.scenes(list(rows))}
        truth = data.stream_truth(list(rows))
        keep = np.ones(len(truth.samples), np.bool_)
        names = np.array([scene.name for scene in truth.scenes])
        for name, own in rows.items():
            if len(own) < whole[name]:
                keep[np.flatnonzero(names == name)[len(own) :]] = False
        return truth if keep.all() else _select(truth, keep)

    return context.share("streaming.annotations", make)


def pair(context: Context, moments: dict[str, int], options: StreamOptions) -> Pairing:
    """Simulate every scene.

    Args:
        moments: how many each scene has, in the order of `moments`' frames.

    Raises:
        DataError: no record has a time of its own.
    """
    metadata = context.metadata
    rows = scene_rows(metadata)
    measured = measured_us(metadata, options.clock) if options.latencies_us is None else list(options.latencies_us)
    number = {name: index for index, name in enumerate(sorted(rows))}
    paired, age, scene, drawn = [], [], [], []
    inputs = processed = in_time = 0
    for name, count in moments.items():
        own = rows[name]
        is_own = options.latencies_us is None and options.draw == "sequential"
        listed = [measured[row] for row in own] if is_own else measured
        latencies = draw_latencies(
            listed,
            inputs=len(own),
            draw=options.draw,
            seed=options.seed,
            scene=number[name],
            factor=options.factor,
        )
        mean = round(statistics.fmean(measured) * options.factor)
        found = simulate(latencies, moments=count, schedule=options.schedule, mean_us=mean)
        paired += [own[one] if one != NONE else NONE for one in found.paired]
        age += [moment - one if one != NONE else 0 for moment, one in enumerate(found.paired)]
        scene += [number[name]] * count
        drawn += [latencies[one] for one in found.processed]
        inputs, processed, in_time = inputs + len(own), processed + len(found.processed), in_time + found.in_time
    return Pairing(
        paired=np.array(paired, dtype=np.int64),
        age=np.array(age, dtype=np.int64),
        scene=np.array(scene, dtype=np.int64),
        inputs=inputs,
        processed=processed,
        in_time=in_time,
        latency_us=drawn,
    )


def measured_us(metadata: Sequence[Metadata], clock: Clock) -> list[int]:
    """Return the latency of each record [µs].

    A scene's first frame starts cold, and a failed or batched one has no time: they get the median of the others.

    Raises:
        DataError: no record has a time of its own.
    """
    times = [entry.inference_time if clock == "inference" else entry.end_to_end_time for entry in metadata]
    steady = [time for time, entry in zip(times, metadata, strict=True) if time is not None and entry.index_in_scene]
    known = steady or [time for time in times if time is not None]
    if not known:
        raise DataError(
            "no record has a latency of its own, so nothing can be simulated",
            hint="run the model without --batch, or pass --latencies FILE to admlops streaming",
        )
    usual = statistics.median(known)
    return [
        round(1e6 * (usual if time is None or not entry.index_in_scene else time))
        for time, entry in zip(times, metadata, strict=True)
    ]


def _select(annotations: Annotations, keep: NDArray[np.bool_]) -> Annotations:
    """The annotations of the samples that are kept."""
    place = np.cumsum(keep) - 1
    rows = keep[annotations.sample]
    own: dict[str, Any] = {}
    for field in fields(Annotations):
        values, mask = getattr(annotations, field.name), keep if field.name in OF_SAMPLES else rows
        is_array = isinstance(values, np.ndarray)
        own[field.name] = values[mask] if is_array else list(compress(values, mask))
    own["sample"] = place[own["sample"]].astype(np.int32)
    own["next_sample"] = np.full(int(keep.sum()), -1, np.int32)
    own["next_row"] = np.full(int(rows.sum()), -1, np.int32)
    return Annotations(**own)
