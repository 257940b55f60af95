"""One processor beside a camera: which input it takes when, and which output each moment of the ground truth has.

Inputs arrive at 12 Hz by their number, not by their timestamp. Time is counted in ticks of 1/12 µs, so that arrivals
and latencies in whole microseconds are whole numbers and ties are exact. The processor takes an input as it arrives;
when it is done later than the next one arrived, it takes the newest that has arrived, and those before are dropped. A
moment of the ground truth has the last output that was finished by then, at that very moment included.

Sources: ASAP (arXiv 2212.08914), sAP3D/nusc_sAP3D.py; sAP (arXiv 2005.10420), det/srt_det.py, whose pairings agree at
constant latencies. `shrinking tail` is sAP's dynamic schedule: wait for the next input where the current one would be
finished closer before an arrival than it is taken after one. ASAP's waits as well, and then takes the older input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from admlops.evaluation.streaming.options import Draw, Schedule

RATE_HZ = 12
TICKS_PER_US = RATE_HZ
PERIOD_TICKS = 1_000_000
"""Between two inputs, which are 1/12 s apart."""
NONE = -1


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One scene: of each moment the input whose output it has, NONE before the first; of each output its input."""

    paired: tuple[int, ...]
    processed: tuple[int, ...]

    @property
    def missed(self) -> int:
        """Moments without an output."""
        return sum(one == NONE for one in self.paired)

    @property
    def in_time(self) -> int:
        """Moments that have the output of their own input."""
        return sum(number == one for number, one in enumerate(self.paired))

    @property
    def mismatch(self) -> int:
        """Frames that outputs are behind, added up over the moments that have one."""
        return sum(number - one for number, one in enumerate(self.paired) if one != NONE)


def simulate(
    latencies_us: Sequence[int], *, moments: int, schedule: Schedule = "newest", mean_us: int | None = None
) -> Simulated:
    """Return the pairing of one scene.

    Args:
        latencies_us: of each input, how long its output takes if it is taken [µs].
        moments: of the ground truth, 1/12 s apart, the first with the first input; the last output serves all that
            come after it.
        mean_us: the latency that the shrinking-tail schedule expects; the mean of `latencies_us` if None.
    """
    expected = mean_us if mean_us is not None else round(sum(latencies_us) / max(1, len(latencies_us)))
    finished: list[tuple[int, int]] = []
    now, last = 0, NONE
    while True:
        arrived = now // PERIOD_TICKS
        if arrived > last and schedule == "shrinking-tail" and last != NONE:
            arrived += _would_wait(now, expected * TICKS_PER_US)
        newest = max(last + 1, min(arrived, len(latencies_us) - 1))
        if newest >= len(latencies_us):
            break
        now = max(now, newest * PERIOD_TICKS) + latencies_us[newest] * TICKS_PER_US
        finished.append((now, newest))
        last = newest
    paired, done = [], 0
    for moment in range(moments):
        while done < len(finished) and finished[done][0] <= moment * PERIOD_TICKS:
            done += 1
        paired.append(finished[done - 1][1] if done else NONE)
    return Simulated(paired=tuple(paired), processed=tuple(number for _, number in finished))


def _would_wait(now: int, expected: int) -> bool:
    """Tell whether the tail of the current input shrinks by waiting: sAP's rule, with both parts of a period."""
    return now % PERIOD_TICKS > (now + expected) % PERIOD_TICKS


def draw_latencies(
    measured_us: Sequence[int], *, inputs: int, draw: Draw, seed: int, scene: int, factor: Fraction
) -> list[int]:
    """Return a latency for each of a scene's inputs [µs].

    Args:
        measured_us: with `sequential` those of the scene's inputs themselves, one each, or of another list, which is
            gone through again and again; with `seeded` the list that is drawn from.
        scene: its number, which is part of the seed: scenes do not share their draws.
        factor: multiplies each latency, as ASAP's `time_factor`.
    """
    if draw == "sequential":
        chosen = [measured_us[number % len(measured_us)] for number in range(inputs)]
    else:
        places = np.random.default_rng([seed, scene]).integers(len(measured_us), size=inputs)
        chosen = [measured_us[place] for place in places.tolist()]
    return [round(one * factor) for one in chosen]
