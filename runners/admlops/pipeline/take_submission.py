"""Make a run folder of a results file made elsewhere, so that everything that works on runs works on it.

The folder is written beside its place and moved there when it is whole: a file that turns out wrong at its last sample,
or Ctrl-C, leaves nothing behind.
"""

from __future__ import annotations

import platform
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import msgspec

from admlops import __version__
from admlops.catalog.registries import SUBMISSION_FORMATS
from admlops.core.errors import AdmlopsError, DataError, RecordError, StorageError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.core.types import Say
from admlops.datasets.base import Dataset, Scene, default_split
from admlops.evaluation.submissions.base import Predictions, SubmissionFormat, Target
from admlops.evaluation.submissions.results_file import ResultsFile
from admlops.pipeline.submission_samples import check_tokens, describe_data, find_places, find_split, in_file_order
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader, Submission
from admlops.results.reading_order import write_order
from admlops.results.record import Metadata
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder
from admlops.sources.provenance import describe_commit

AUTO = "auto"
VARIANT = "submission"
NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")
DIGITS = 8
"""How many digits of the file's sha256 a run's name has."""

OnSamples = Callable[[int, int], None]
"""Called with the number of samples written, and their total."""


@dataclass(frozen=True, kw_only=True)
class SubmissionRequest:
    """What a person asks for.

    Attributes:
        file: the results file.
        form: an id of SUBMISSION_FORMATS, or `auto`.
        open_data: opens the data set that the samples of a format are of.
        split: the split that it is about; if None the one that models are judged on, or else whose samples it has.
        name: of the run; made of the file's name and content if None.
        model: what tables call it; the file's name if None.
        truth_2d: the COCO file with the ground truth, which says what images and categories the numbers of a COCO
            results file stand for.
        command: the command line, for the run's header.
    """

    file: Path
    form: str
    open_data: Callable[[SubmissionFormat], Dataset]
    split: str | None = None
    name: str | None = None
    model: str | None = None
    truth_2d: Path | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a file would become. `earlier` is the run that was made of the same file for the same samples, if any."""

    format: SubmissionFormat
    data: Dataset
    header: RunHeader
    scenes: Sequence[Scene]
    predictions: Predictions
    path: Path
    earlier: RunFolder | None

    @property
    def samples(self) -> int:
        return sum(self.header.scenes.values())

    def to_json(self) -> dict[str, Any]:
        """Return what `--dry-run` says."""
        return {
            "run": self.header.run,
            "model": self.header.model,
            "format": self.format.id,
            "submission": msgspec.to_builtins(self.header.submission),
            "data": msgspec.to_builtins(self.header.data),
            "samples": self.samples,
            "scenes": len(self.scenes),
            "folder": str(self.path),
            "reused": self.earlier is not None,
        }


def choose_format(file: ResultsFile, asked: str) -> SubmissionFormat:
    """Return the format that was asked for, or the one that the file's content has.

    Raises:
        UsageError: there is no such format, the file is not of it, or it is of no known format.
    """
    formats = [cast("SubmissionFormat", one) for one in SUBMISSION_FORMATS.values()]
    if asked != AUTO:
        chosen = cast("SubmissionFormat", SUBMISSION_FORMATS.get(asked))
        if chosen.recognise(file):
            return chosen
        found = next((one for one in formats if one.recognise(file)), None)
        what = f"it is {found.title}" if found else "it is none of the known ones either"
        hint = f"pass --format {found.id}, or leave it out" if found else _list_formats(formats)
        raise UsageError(f"{file.path} is not of format {asked} ({chosen.looks_for}); {what}", hint=hint)
    for one in formats:
        if one.recognise(file):
            return one
    raise UsageError(f"{file.path} is no results file of a known format", hint=_list_formats(formats))


def _list_formats(formats: Sequence[SubmissionFormat]) -> str:
    listed = "; ".join(f"{one.id}: {one.looks_for}" for one in formats)
    return f"the formats are {listed}"


@contextmanager
def plan_submission(layout: Layout, request: SubmissionRequest) -> Iterator[Plan]:
    """Open a file and say what it would become; the file stays open within the context.

    Raises:
        UsageError: the file cannot be taken.
        DataError: the data set or the split is not there.
        StorageError: the name belongs to another run.
    """
    with ResultsFile(request.file) as file:
        form = choose_format(file, request.form)
        data = request.open_data(form)
        if data.kind not in form.kinds:
            raise UsageError(
                f"{request.file} is {form.title}, whose samples are of {' or '.join(form.kinds)}; "
                f"{data.root} is {data.kind}",
                hint=f"pass --data with the root of {form.kinds[0]}",
            )
        split, scenes, predictions = _read(request, form, file, data)
        scenes = in_file_order(scenes, predictions.tokens)
        header = _make_header(layout, request, file, describe_data(data, scenes, split), form)
        header = msgspec.structs.replace(header, scenes={scene.name: len(scene.samples) for scene in scenes})
        path = layout.runs / header.run
        yield Plan(
            format=form,
            data=data,
            header=header,
            scenes=scenes,
            predictions=predictions,
            path=path,
            earlier=_find_earlier(path, header, request),
        )


def _read(
    request: SubmissionRequest, form: SubmissionFormat, file: ResultsFile, data: Dataset
) -> tuple[str, list[Scene], Predictions]:
    """Read what the file says of a split: the one that was named, or else the one whose samples it has."""
    asked = request.split or default_split(data.root, data.version, wanted=[data.kind])
    try:
        scenes = data.scenes_of_split(asked)
    except DataError:
        if request.split is not None:
            raise
        asked = "all"
        scenes = data.scenes()

    def read(split: str, scenes: list[Scene]) -> Predictions:
        return form.read(file, Target(data=data, scenes=scenes, split=split, truth_2d=request.truth_2d))

    predictions = read(asked, scenes)
    there = set(predictions.tokens)
    if request.split is None and there != {token for scene in scenes for token in scene.samples}:
        other = find_split(data, there)
        if other is not None:
            scenes = data.scenes_of_split(other)
            return other, scenes, read(other, scenes)
    check_tokens(request.file, data, predictions.tokens, scenes, asked)
    return asked, scenes, predictions


def take_submission(
    layout: Layout, plan: Plan, *, say: Say, on_samples: OnSamples = lambda done, of: None
) -> RunFolder:
    """Make the run, or return the one that was made of the same file before.

    Raises:
        UsageError: an entry of the file is not what the official code takes; nothing is left behind.
        StorageError: it cannot be written, or another process uses the run.
    """
    if plan.earlier is not None:
        say(f"{plan.header.run} was made of the same file before; its records are used again")
        return plan.earlier
    try:
        layout.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, layout.runs) from error
    for left in layout.runs.glob(f".{plan.header.run}.*"):
        _remove_if_left(left)
    partial = layout.runs / f".{plan.header.run}.{secrets.token_hex(3)}"
    try:
        run = RunFolder.create(partial, plan.header)
        with run.lock():
            _write(run, plan, on_samples)
            _put_in_place(partial, plan.path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return RunFolder.open(plan.path)


def _remove_if_left(partial: Path) -> None:
    """Remove what a killed process left half written; another one that still writes holds the lock."""
    with suppress(AdmlopsError, OSError), RunFolder.open(partial).lock():
        shutil.rmtree(partial)


def _write(run: RunFolder, plan: Plan, on_samples: OnSamples) -> None:
    done = count(1)
    predictions, header, data = plan.predictions, plan.header, plan.data
    for scene in plan.scenes:
        with run.scene_writer(scene.name) as writer:
            for token in scene.samples:
                sample = data.sample(token)
                metadata = Metadata(
                    model_name=header.model,
                    variant=header.variant,
                    run=header.run,
                    sample_token=token,
                    scene=scene.name,
                    index_in_scene=sample["index_in_scene"],
                    status="ok",
                )
                writer.append(make_record(metadata, predictions.outputs(token, sample)))
                on_samples(next(done), plan.samples)
            writer.commit()
    places = find_places(plan.scenes, predictions.tokens)
    if places != list(range(len(places))):
        write_order(run, places)
    options = {**header.options, "notes": list(predictions.notes)}
    run.header = msgspec.structs.replace(header, options=options)
    run.update(state="complete")
    run.write_manifest()


def _put_in_place(partial: Path, path: Path) -> None:
    """Move a finished run to its place; an existing one there, which `_find_earlier` let pass, is removed."""
    old = partial.with_name(f"{partial.name}.old")
    try:
        if path.exists():
            with RunFolder.open(path).lock():
                path.rename(old)
        partial.rename(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(old)


def _find_earlier(path: Path, header: RunHeader, request: SubmissionRequest) -> RunFolder | None:
    """Return the run in `path` if it is this one; None if there is none, or one that is to be made anew.

    Raises:
        StorageError: the folder holds something else.
    """
    if not path.exists():
        return None
    try:
        run = RunFolder.open(path)
    except RecordError as error:
        raise StorageError(f"{path} holds files that are no run", hint="choose another --run NAME") from error
    known = run.header
    if not known.is_submission:
        raise StorageError(f"{path} holds a run of {known.model}", hint="choose another --run NAME")
    if _identify(known) == _identify(header):
        return run if known.state == "complete" and len(run.complete_scenes()) == len(known.scenes) else None
    if request.name is None:
        return None  # the same file for another split or data set: the name says which file it is, and that is the same
    raise StorageError(
        f"{path} was made of another file, or for other samples ({_file_of(known)}, split {known.data.split})",
        hint="choose another --run NAME",
    )


def _file_of(header: RunHeader) -> str:
    return header.submission.file if isinstance(header.submission, Submission) else ""


def _identify(header: RunHeader) -> tuple[object, ...]:
    """Return what decides the records of a submission's run."""
    source = header.submission
    assert isinstance(source, Submission), "both are runs of submissions"
    data = header.data
    return (source.sha256, source.format, data.version, data.split, data.samples_sha256, header.model, data.root)


def _make_header(
    layout: Layout,
    request: SubmissionRequest,
    file: ResultsFile,
    data: DataInfo,
    form: SubmissionFormat,
) -> RunHeader:
    stem = _stem(request.file)
    return RunHeader(
        run=_check_name(request.name) if request.name else f"{stem}-{file.sha256[:DIGITS]}",
        model=request.model or stem,
        variant=VARIANT,
        environment=EnvironmentInfo(name="none", digest="", backend="none", python=""),
        data=data,
        provenance=Provenance(commit=describe_commit(layout), admlops=__version__, host=platform.platform()),
        scenes={},
        settings={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        options={"command": request.command},
        submission=Submission(
            file=str(request.file.absolute()), format=form.id, sha256=file.sha256, size_bytes=file.size_bytes
        ),
    )


def _stem(path: Path) -> str:
    """Return a run's name made of a file's: without its endings, in plain characters."""
    name = path.name
    while Path(name).suffix in (".json", ".pkl", ".zip", ".pickle"):
        name = Path(name).stem
    return NAME_CHARACTERS.sub("-", name).strip("-.") or "submission"


def _check_name(name: str) -> str:
    if NAME_CHARACTERS.search(name) or name.startswith("."):
        raise UsageError(f"--run {name!r} is no name of a run", hint="use letters, digits, dots, dashes, underscores")
    return name
