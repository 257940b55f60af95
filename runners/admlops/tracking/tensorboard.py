"""TensorBoard: event files in a folder a run, written by TensorBoard's own writer without torch or TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from admlops.core.errors import MissingExtraError, TrackingError
from admlops.core.storage import explain_os_error, write_atomically
from admlops.core.types import Say
from admlops.tracking.exported import ExportedRun
from admlops.tracking.trackers import Destination, Tracked

MARK = "admlops.json"
"""Says which run a folder is of, and what was written."""


class TensorBoard:
    """Writes `<folder>/<run>/events.out.tfevents.*`."""

    id = "tensorboard"

    def track(self, run: ExportedRun, destination: Destination, *, say: Say) -> Tracked:
        """Write the run's folder, or write it anew where the run changed since. Raises as `Tracker.track`."""
        writers = _load()
        folder = destination.folder / run.run
        before = _read_mark(folder)
        if before is not None and before.get("id") != run.id:
            raise TrackingError(
                f"{folder} holds another run of that name", hint="pass --dir with a folder of its own, or remove it"
            )
        done = Tracked(
            outcome="created" if before is None else "updated",
            where=str(folder),
            id=run.id,
            next_step=f"tensorboard --logdir {destination.folder}",
        )
        if before is not None and before.get("digest") == run.digest:
            return Tracked(outcome="unchanged", where=done.where, id=done.id, next_step=done.next_step)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = list(folder.glob("events.out.tfevents.*"))
            writer = writers.EventFileWriter(str(folder), filename_suffix=f".{run.id}-{run.digest[:8]}")
            for event in _events(run, writers):
                writer.add_event(event)
            writer.close()
            for path in old:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, folder / MARK) from error
        write_atomically(folder / MARK, json.dumps({"id": run.id, "digest": run.digest}).encode() + b"\n")
        return done


class _Library:
    """The parts of TensorBoard that write event files."""

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.text import metadata
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
        from tensorboard.util import tensor_util

        self.Event: Any = event_pb2.Event
        self.Summary: Any = summary_pb2.Summary
        self.EventFileWriter: Any = EventFileWriter
        self.text_metadata: Any = metadata.create_summary_metadata
        self.make_tensor: Any = tensor_util.make_tensor_proto


def _load() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        raise MissingExtraError("--to tensorboard", "tensorboard", error) from error


def _read_mark(folder: Path) -> dict[str, Any] | None:
    """What was written before; None for a folder that is not there or empty.

    Raises:
        TrackingError: the folder holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        mark: dict[str, Any] = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"{folder} holds files that are not of an exported run", hint="pass --dir with another folder"
        ) from error
    return mark


def _events(run: ExportedRun, library: _Library) -> Iterator[Any]:
    """Telemetry by seconds; final values once, at the step of the samples; note, parameters and tags as text."""
    begun = run.created_ms / 1000
    for t, values in run.telemetry:
        yield _event(library, begun + t, round(t), [_scalar(library, name, value) for name, value in values.items()])
    end = begun + (run.telemetry[-1][0] if run.telemetry else 0.0)
    scalars = [_scalar(library, name, value) for name, value in run.metrics.items()]
    facts = {**run.params, **run.tags, "data": f"{run.dataset[0]} ({run.dataset[1]})", "state": run.state}
    lines = ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]
    texts = [_text(library, "run/metrics", run.note), _text(library, "run/facts", "\n".join(lines))]
    yield _event(library, end, run.samples, [*scalars, *texts])


def _cell(value: str) -> str:
    return re.sub(r"([|\\])", r"\\\1", value)


def _event(library: _Library, wall_time: float, step: int, values: list[Any]) -> Any:
    return library.Event(wall_time=wall_time, step=step, summary=library.Summary(value=values))


def _scalar(library: _Library, tag: str, value: float) -> Any:
    return library.Summary.Value(tag=tag, simple_value=value)


def _text(library: _Library, tag: str, text: str) -> Any:
    metadata = library.text_metadata(display_name=tag, description="")
    return library.Summary.Value(tag=tag, metadata=metadata, tensor=library.make_tensor(text.encode()))


TRACKER = TensorBoard()
