"""A run in a thread of its own, with its events to iterate over; and requests made from plain values."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.types import Say
from admlops.datasets.base import default_split
from admlops.execution.cancel import CancelToken
from admlops.execution.deadlines import Deadlines
from admlops.execution.scene_job import RunEvent, Summary
from admlops.pipeline.default_data import ensure_data
from admlops.pipeline.options import read_corrupt
from admlops.pipeline.run import run_model
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import Selection
from admlops.pipeline.shards import parse_shard
from admlops.results.run_folder import RunFolder
from admlops.worker.corruptions.fault import Fault


class RunOptions(TypedDict, total=False):
    """The options of a run by name: what `Selection` and `RunRequest` take; docstrings there say what each means."""

    data: str | Path | None
    version: str | None
    split: str | None
    scenes: Sequence[str]
    tokens: str | Path | None
    limit: int | None
    complete_scenes: bool
    shard: str | None
    where: str | None
    rules: str | Path | None
    variant: str | None
    device: str
    workers: int
    config: str | None
    checkpoint: str | None
    weights: str | None
    model_options: Mapping[str, str]
    off_distribution: bool
    precision: str
    graphs: bool
    throughput: bool
    estimate_energy: bool
    batch: int | Literal["auto"]
    prefetch: int | Literal["auto"] | None
    gpu_memory_limit_mb: float | None
    gpu_memory_share: float | None
    engine: str | None
    engine_options: Mapping[str, Any]
    executor: str
    address: str | None
    data_map: Mapping[str, str]
    runtime: str | None
    stream: bool
    corrupt: Fault | str | None
    deadlines: Deadlines
    name: str | None
    resume: bool
    retry_failed: bool
    command: str


def make_request(
    layout: Layout, model: str, options: RunOptions, *, cancel: CancelToken | None = None, say: Say
) -> RunRequest:
    """Make the request for a run of `model`, with the usual data set and split if none is named.

    Raises:
        UsageError: an option that no run has; the message lists the known ones.
        CatalogError: there is no such model.
        DataError: no data set is named, and none is there.
    """
    unknown = sorted(set(options) - set(RunOptions.__annotations__))
    if unknown:
        there = ", ".join(sorted(RunOptions.__annotations__))
        raise UsageError(f"a run has no option {', '.join(unknown)}", hint=f"use some of: {there}")
    more: dict[str, Any] = {**options}
    data, split, tokens = (more.pop(name, None) for name in ("data", "split", "tokens"))
    reads = load_model(layout, model).reads
    if isinstance(more.get("corrupt"), str):
        more["corrupt"] = read_corrupt(more["corrupt"], 0)
    root = ensure_data(layout, reads[0], say=say) if data is None else user_path(data)
    return RunRequest(
        model=model,
        data=root,
        selection=Selection(
            split=split or default_split(root, more.get("version"), wanted=reads),
            scenes=tuple(more.pop("scenes", ())),
            tokens=None if tokens is None else user_path(tokens),
            limit=more.pop("limit", None),
            complete_scenes=more.pop("complete_scenes", False),
            shard=None if (shard := more.pop("shard", None)) is None else parse_shard(shard),
            where=more.pop("where", None),
            rules=None if (rules := more.pop("rules", None)) is None else user_path(rules),
        ),
        cancel=cancel or CancelToken(),
        **more,
    )


class BackgroundRun:
    """A run that goes on in a thread. Its events are kept until they are asked for."""

    def __init__(self, layout: Layout, request: RunRequest, *, say: Say) -> None:
        self._layout = layout
        self._request = request
        self._say = say
        self._events: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._result: tuple[RunFolder, Summary] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"admlops run {request.model}", daemon=True)
        self.total: int | None = None
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ask the run to stop."""
        self._request.cancel.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; tell whether it came."""
        self._thread.join(timeout_s)
        return self.is_done

    def result(self, timeout_s: float | None = None) -> tuple[RunFolder, Summary]:
        """Wait for the end; return what `run_model` gave, or raise what it raised.

        Raises:
            TimeoutError: it still goes on.
        """
        if not self.wait(timeout_s):
            raise TimeoutError(f"the run of {self._request.model} still goes on after {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def events(self) -> Iterator[RunEvent]:
        """Yield the events that nobody has taken yet, until the run has ended."""
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)  # for whoever else iterates

    def _run(self) -> None:
        try:
            self._result = run_model(self._layout, self._request, say=self._say, on_progress=self._take)
        except BaseException as error:  # noqa: BLE001  a thread's edge: `result` raises it where it is waited for
            self._error = error
        finally:
            self._events.put(None)

    def _take(self, event: RunEvent, total: int) -> None:
        self.total = total
        self._events.put(event)
