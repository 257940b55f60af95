"""What a job says of a scene that is whole and on disk."""

from __future__ import annotations

from statistics import median
from typing import Any

import msgspec

from admlops.results.run_folder import RunFolder


class _Metadata(msgspec.Struct):
    status: str
    inference_time: float | None = None


class _Line(msgspec.Struct):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Line).decode


def describe_scene(run: RunFolder, scene: str) -> dict[str, Any]:
    """Return `{scene, samples, failed, latency_p50_ms}`; the last is None where nothing was timed.

    It is read from the scene's file, so that an attempt that found the scene there says the same as the one that ran
    it. Raises RecordError: the file cannot be read.
    """
    metadata = [_decode(line).metadata for line, _ in run.lines_of(scene)]
    times = [one.inference_time for one in metadata if one.inference_time is not None]
    return {
        "scene": scene,
        "samples": len(metadata),
        "failed": sum(one.status == "failed" for one in metadata),
        "latency_p50_ms": round(1e3 * median(times), 3) if times else None,
    }
