"""Keep the samples that an int8 engine took its ranges from out of its evaluation."""

from __future__ import annotations

from collections.abc import Collection

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.results.header import RunHeader


def require_uncalibrated(header: RunHeader, samples: Collection[str]) -> None:
    """Raise UsageError if the run's engine took its ranges from any of the samples.

    A run refuses them too if it knows the file's manifest. Runs that were merged, or whose samples were chosen
    elsewhere, are checked here.
    """
    calibrated_on = () if header.engine is None else header.engine.get("calibrated_on", ())
    both = sorted(set(calibrated_on) & set(samples))
    if both:
        raise UsageError(
            f"run {header.run}: the int8 ranges of its engine came from {count_of(len(both), 'sample')} that it is "
            f"judged on, such as {both[0]}: that flatters the file",
            hint=f"admlops run {header.model} --engine {header.engine_option} --split SPLIT   # another one",
        )
