"""Throughput mode: how many workers, and how many samples at once, do most samples a second on this machine.

First a worker is tried alone, then one that takes several samples at once if its model can. Then the workers are
doubled. A step is taken if it gives at least `GAIN` times the samples a second. The first doubling that does not ends
the search, and so does one that has no room, or fails. On a CPU no more workers are tried than keep all cores busy: on
a machine that does other things at the same time, more workers would only take from those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from admlops.core.counting import count_of
from admlops.core.errors import RecordError, RunFailedError, StoppedError
from admlops.core.storage import write_atomically
from admlops.core.types import Say
from admlops.pipeline.placing import MARGIN, Needs, Room
from admlops.pipeline.run_request import AUTO_BATCH
from admlops.pipeline.trials import Trial

THROUGHPUT_SCHEMA = 1
GAIN = 1.05
MOST_WORKERS = 32
"""The most workers that are tried on one device."""
SPARE_CORES = 0.1
"""A share of a worker: one more worker is not started if the cores that are left suffice for no more than this."""
RULE = (
    f"workers are doubled while that gives at least {GAIN - 1:.0%} more samples/s; "
    "several samples at once are taken where they give as much with one worker"
)

TrySetting = Callable[[int, int | Literal["auto"]], Trial]
"""Tries a number of workers on each device, at a number of samples at once."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What was tried, in order, and what was chosen: `workers` on each device, `batch` samples at once.

    `ended` says why no more was tried, `room` what the workers might take together.
    """

    workers: int
    batch: int
    tried: tuple[Trial, ...]
    ended: str
    room: str

    def to_json(self) -> dict[str, Any]:
        """The content of `throughput.json`."""
        return {"schema": THROUGHPUT_SCHEMA, "rule": RULE, **asdict(self), "tried": [asdict(one) for one in self.tried]}


def find_best(
    try_setting: TrySetting,
    *,
    room: Room,
    batches: bool,
    batch: int,
    most: int | None,
    say: Say,
) -> Throughput:
    """Search for the setting with the most samples a second, as the module says.

    Args:
        room: what all workers may take together.
        batches: try several samples at once as well.
        batch: how many a worker takes at once where they are not tried.
        most: try no more workers on a device; None for MOST_WORKERS.

    Raises:
        RunFailedError: not even one worker did what it was asked.
        StoppedError: somebody stopped the search.
    """
    search = _Search(try_setting, room, say)
    best = search.attempt(1, batch)
    if best.samples_per_s is None:
        raise RunFailedError(
            f"throughput mode tried one worker, and it failed: {best.failed}",
            hint="run it without --throughput   # says more of the failure",
        )
    if batches:
        several = search.attempt(1, AUTO_BATCH)
        best = several if search.is_better(several, best) else best
    limit = most or MOST_WORKERS
    ended = f"{limit} workers are the most that were asked for" if most else f"no more than {limit} workers are tried"
    while best.workers < limit:
        asked = min(2 * best.workers, limit)
        workers = _count_that_fit(search.tried, asked, best, room)
        if workers == best.workers:
            ended = f"{workers + 1} workers have no room: {_why_not(search.tried, workers + 1, best, room)}"
            break
        trial = search.attempt(workers, best.batch)
        if not search.is_better(trial, best):
            gain = (trial.samples_per_s or 0.0) / (best.samples_per_s or 1.0) - 1
            ended = trial.failed or f"{workers} workers give {gain:+.0%} samples/s over {best.workers}"
            break
        best = trial
    say(f"chosen: {count_of(best.workers, 'worker')}, batch {best.batch}; {ended}")
    return Throughput(workers=best.workers, batch=best.batch, tried=tuple(search.tried), ended=ended, room=room.said)


class _Search:
    """The trials so far."""

    def __init__(self, try_setting: TrySetting, room: Room, say: Say) -> None:
        self._try = try_setting
        self._say = say
        self.tried: list[Trial] = []
        say(f"throughput mode: {RULE}; room: {room.said}")

    def attempt(self, workers: int, batch: int | Literal["auto"]) -> Trial:
        """Try a setting and return the trial."""
        trial = self._try(workers, batch)
        if trial.failed == "stopped":
            raise StoppedError("the search for the best throughput was stopped", hint="repeat the command")
        self.tried.append(trial)
        rate = trial.failed or f"{trial.samples_per_s:.3g} samples/s"
        energy = "" if trial.j_per_sample is None else f", {trial.j_per_sample:.3g} J/sample"
        self._say(f"  {workers} worker{'' if workers == 1 else 's'}, batch {trial.batch}: {rate}{energy}")
        return trial

    def is_better(self, trial: Trial, than: Trial) -> bool:
        """Tell whether a trial did enough more samples a second than another to be worth its step."""
        return (trial.samples_per_s or 0.0) >= GAIN * (than.samples_per_s or 0.0) and trial.samples_per_s is not None


def _needs(tried: Sequence[Trial], room: Room) -> Needs:
    """Return the most that a worker took in the trials so far."""
    gpu = [one.gpu_mb / one.workers for one in tried if one.gpu_mb is not None]
    host = max((one.host_mb / one.workers / room.devices for one in tried), default=0.0)
    return Needs(gpu_mb=MARGIN * max(gpu) if gpu else None, host_mb=MARGIN * host, cores=0.0)


def _why_not(tried: Sequence[Trial], workers: int, best: Trial, room: Room) -> str:
    """Say what so many workers on each device lack; empty if they have room. `best` tells how many cores one takes."""
    if room.gpu_mb is None and best.cores and workers > math.ceil(room.cores / best.cores - SPARE_CORES):
        return f"each keeps {best.cores:g} cores busy, and there are {room.cores:g}"
    return room.why_not([_needs(tried, room).times(workers)])


def _count_that_fit(tried: Sequence[Trial], asked: int, best: Trial, room: Room) -> int:
    """The most workers up to `asked` that have room; those of `best` have had it."""
    known = best.workers
    return next((count for count in range(asked, known, -1) if not _why_not(tried, count, best, room)), known)


def write_throughput(path: Path, found: Throughput) -> None:
    """Write a `throughput.json`. Raises StorageError."""
    write_atomically(path, json.dumps(found.to_json(), indent=1, allow_nan=False).encode() + b"\n")


def read_throughput(path: Path) -> dict[str, Any] | None:
    """Read a `throughput.json`; None without the file.

    Raises:
        RecordError: it is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
        int(found["workers"]), int(found["batch"]), list(found["tried"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is not what throughput mode writes: {error}", hint=f"rm {path}   # then --resume searches anew"
        ) from error
    return dict(found)
