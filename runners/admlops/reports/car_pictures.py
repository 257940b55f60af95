"""Cars in pictures: the numbers of every class set, and the pictures with most errors, with every box.

What is right is the evaluation's own (`details.cars.worst` of metrics.json): at the model's operating threshold, a box
that takes a car of the ground truth with an IoU of at least 0.5.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from admlops.catalog.protocols import find_evaluation
from admlops.core.errors import AdmlopsError
from admlops.pipeline.run_data import RunData
from admlops.reports.camera_view import JPEG_QUALITY, PICTURE_WIDTH, load_picture
from admlops.reports.page import number
from admlops.reports.scene_view import Samples

MAX_PICTURES = 12
PICTURE_BYTES = 3_000_000
LABELLED = 0.06
"""Boxes of this share of the picture's width and more have a label: those of smaller ones would cover each other."""

IDS = ("cars", "cars_merged", "car_presence", "car_count")
COLUMNS = {
    "AP50": "AP50",
    "AP": "AP",
    "ROC_AUC": "ROC AUC",
    "best_F1": "best F1",
    "F1": "F1",
    "precision": "precision",
    "recall": "recall",
    "count_score": "count score",
    "count_error": "count error",
    "F1_bound": "F1 at most",
}
"""The metrics in the order of their columns, with their headings."""

Picture = tuple[str, str]
"""Sample token and camera."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A cell; `why` says why there is no value, `between` is its interval."""

    text: str
    why: str = ""
    between: str = ""


@dataclass(frozen=True, kw_only=True)
class CarTable:
    """One protocol: its columns, and a row a run with its threshold and what was counted there."""

    protocol: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, str, Value, tuple[Value, ...], str], ...]

    @property
    def has_counts(self) -> bool:
        """Tell whether boxes were counted at a threshold."""
        return any(row[-1] for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One picture as one run sees it."""

    number: int
    label: str
    svg: Markup
    right: int
    wrong: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class CarPicture:
    """A picture with most errors, once for each run."""

    title: str
    scene: str
    note: str
    drawn: tuple[Drawn, ...]


def make_tables(ran: Sequence[tuple[str, RunData]]) -> list[CarTable]:
    """A table for each protocol of cars that any run was judged by; a run that it does not apply to has n/a."""
    if not any(identifier in run.details for _, run in ran for identifier in IDS):
        return []
    return [table for identifier in IDS if (table := _make_table(identifier, ran)) is not None]


def _make_table(identifier: str, ran: Sequence[tuple[str, RunData]]) -> CarTable | None:
    having = [run for _, run in ran if identifier in run.details]
    metrics = [one for run in having for one in run.measured if _belongs(one.protocol, identifier)]
    if not metrics:
        return None
    names = tuple(name for name in COLUMNS if any(one.name == name for one in metrics))
    rows = tuple(_make_row(index, label, run, identifier, names) for index, (label, run) in enumerate(ran))
    return CarTable(protocol=metrics[0].protocol, columns=tuple(COLUMNS[name] for name in names), rows=rows)


def _belongs(protocol: str, identifier: str) -> bool:
    entry = find_evaluation(protocol)
    return entry is not None and entry.id == identifier


def _make_row(
    index: int, label: str, run: RunData, identifier: str, names: Sequence[str]
) -> tuple[int, str, Value, tuple[Value, ...], str]:
    details = run.details.get(identifier)
    if details is None:
        why = _why_not(run)
        return index, label, Value(text="n/a", why=why), tuple(Value(text="n/a", why=why) for _ in names), ""
    own = {one.name: one for one in run.measured if _belongs(one.protocol, identifier)}
    reasons: Mapping[str, str] = details.get("not_applicable", {})
    cells = []
    for name in names:
        value = None if name not in own else own[name].value
        interval = None if name not in own else own[name].interval
        between = "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"
        why = reasons.get(name, "not defined: nothing to divide by")
        cells.append(Value(text="n/a", why=why) if value is None else Value(text=number(value), between=between))
    threshold = details.get("operating_threshold")
    at = Value(text="n/a", why="none is declared") if threshold is None else Value(text=f"{threshold:g}")
    counted = details.get("at_threshold")
    said = f"{counted['right']} right, {counted['wrong']} wrong, {counted['missed']} missed" if counted else ""
    return index, label, at, tuple(cells), said


def _why_not(run: RunData) -> str:
    if run.metrics is None:
        return "the run is not evaluated"
    if "car_presence" in run.details and "cars" not in run.details:
        return "a classifier gives no boxes"
    return "the run has no boxes in pictures, or no ground truth of them"


def draw_pictures(ran: Sequence[tuple[str, RunData]], data: Sequence[Samples]) -> list[CarPicture]:
    """The pictures with most errors of every run in turn, as many as a page bears."""
    listed = [{(one["sample_token"], one["camera"]): one for one in _worst(run)} for _, run in ran]
    wrong = [[place for place, one in own.items() if one["wrong"] or one["missed"]] for own in listed]
    in_turn = [place for rank in zip_longest(*wrong) for place in rank if place is not None]
    anywhere = [place for own in listed for place in own]
    chosen = list(dict.fromkeys([*in_turn, *anywhere]))[:MAX_PICTURES]
    made: list[CarPicture] = []
    used = 0
    for place in chosen:
        picture, size = _draw(place, len(made), ran, listed, data)
        if used + size > PICTURE_BYTES:
            break
        used += size
        made.append(picture)
    return made


def _worst(run: RunData) -> Iterator[Mapping[str, Any]]:
    yield from run.details.get("cars", {}).get("worst", ())


def _draw(
    place: Picture,
    index: int,
    ran: Sequence[tuple[str, RunData]],
    listed: Sequence[Mapping[Picture, Mapping[str, Any]]],
    data: Sequence[Samples],
) -> tuple[CarPicture, int]:
    token, camera = place
    entry = next(own[place] for own in listed if place in own)
    jpeg, (width, height), title, note = _load(token, camera, data)
    if jpeg is None:  # boxes alone, on an empty ground that holds them all
        every = [box for own in listed if place in own for box in _boxes(own[place])]
        width = height = round(max((value for box in every for value in box), default=100) * 1.05)
    drawn: list[Drawn] = []
    for number_, (label, _) in enumerate(ran):
        own = listed[number_].get(place)
        if own is not None:
            image = _image(jpeg, index, is_first=not drawn, size=(width, height))
            drawn.append(_draw_one(number_, label, own, image, (width, height)))
    picture = CarPicture(title=title, scene=str(entry["scene"]), note=note, drawn=tuple(drawn))
    return picture, len(jpeg or "") + sum(len(one.svg) for one in drawn)


def _boxes(entry: Mapping[str, Any]) -> Iterator[Sequence[float]]:
    yield from (one["box"] for key in ("right", "wrong") for one in entry[key])
    yield from (box for key in ("missed", "found") for box in entry[key])


def _load(token: str, camera: str, data: Sequence[Samples]) -> tuple[str | None, tuple[int, int], str, str]:
    """The picture as a JPEG in base64, its size, its name, and why it is missing."""
    for one in data:
        try:
            sample = one.sample(token)["cameras"][camera]
            path = Path(sample["path"])
            buffer = io.BytesIO()
            load_picture(path, PICTURE_WIDTH).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
        except (AdmlopsError, KeyError) as error:
            note = error.message if isinstance(error, AdmlopsError) else ""
            continue
        name = path.name if camera == "IMAGE" else f"{camera.removeprefix('CAM_').replace('_', ' ').lower()}"
        size = (int(sample["width"]), int(sample["height"]))
        return base64.b64encode(buffer.getvalue()).decode("ascii"), size, name, ""
    return None, (0, 0), token, note if data and note else "The picture is not at hand."


def _image(jpeg: str | None, index: int, *, is_first: bool, size: tuple[int, int]) -> str:
    """The picture, once in the page: other runs refer to it."""
    if jpeg is None:
        return ""
    if not is_first:
        return f'<use href="#car-picture-{index}"/>'
    source = f"data:image/jpeg;base64,{jpeg}"
    return f'<image id="car-picture-{index}" href="{source}" width="{size[0]}" height="{size[1]}"/>'


def _draw_one(number_: int, label: str, entry: Mapping[str, Any], image: str, size: tuple[int, int]) -> Drawn:
    counts = {key: len(entry[key]) for key in ("right", "wrong", "missed")}
    said = f"{label}: {counts['right']} right, {counts['wrong']} wrong, {counts['missed']} missed"
    text = max(12, size[0] / 42)
    room = LABELLED * size[0]
    parts = [_rectangle(box, "found", "ground truth, found", room=math.inf) for box in entry["found"]]
    parts += [_rectangle(box, "missed", "missed", room=room) for box in entry["missed"]]
    for role in ("right", "wrong"):
        for one in entry[role]:
            parts.append(_rectangle(one["box"], role, f"{one['class']} {one['confidence']:.2f}", room=room))
    svg = (
        f'<svg class="car-picture" viewBox="0 0 {size[0]} {size[1]}" font-size="{text:.0f}" role="img" '
        f'aria-label="{escape(said)}">{image}{"".join(parts)}</svg>'
    )
    return Drawn(number=number_, label=label, svg=Markup(svg), **counts)  # noqa: S704 - what is not ours is escaped


def _rectangle(box: Sequence[float], role: str, label: str, *, room: float) -> str:
    """A box with its label above it if it is as wide as `room`; the pointer always shows it."""
    x1, y1, x2, y2 = box
    title = f"<title>{escape(label)}</title>"
    size = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"'
    shape = f'<rect class="{role}" {size}>{title}</rect>'
    above = f'<text class="{role}" x="{x1:g}" y="{y1:g}" dy="-.3em">{escape(label)}</text>'
    return shape + (above if x2 - x1 >= room else "")
