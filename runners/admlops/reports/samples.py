"""The samples of a page: which ones it shows, their ground truth, read once, and what every run says of them.

A few samples, the worst, are cards with all their pictures. Many more, whole scenes if they fit, are packed for the
page's script, each with its front picture. What a page may weigh is fixed here, so that it opens at once.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from msgspec import UnsetType

from admlops.core.errors import AdmlopsError, DataError
from admlops.pipeline.run_data import RunData
from admlops.reports.bird_eye import bird_eye_svg
from admlops.reports.camera_view import CameraPicture, camera_names, draw_cameras, draw_overlay, load_picture
from admlops.reports.geometry import projection_matrix
from admlops.reports.packing import Names, pack_record, pack_truth
from admlops.reports.points import with_points
from admlops.reports.scene_view import Samples, SceneView, Truth, load_truth, view_record
from admlops.results.record import Metadata, Record

MAX_CARDS = 8
MAX_PACKED = 240
CARD_BYTES, FRONT_BYTES, PACKED_BYTES = 5_500_000, 3_500_000, 4_500_000
"""What the cards, the front pictures and the packed boxes and lines may weigh: together a page stays under 15 MB."""
FRONT_WIDTH, FRONT_QUALITY = 400, 60

Place = tuple[str, str]
"""Where a sample is: the root of its data set, and its token."""


@dataclass(frozen=True, kw_only=True)
class CardView:
    """What one run says of a card's sample; `worst` is the sample's entry in the run's `metrics.json`."""

    label: str
    number: int
    view: SceneView
    worst: Mapping[str, Any]
    bird_eye: Markup
    overlays: Mapping[str, Markup]


@dataclass(frozen=True, kw_only=True)
class SampleCard:
    """A sample with its pictures, and the views of every run that has it."""

    id: str
    place: Place
    scene: str
    index_in_scene: int
    notes: tuple[str, ...]
    views: tuple[CardView, ...]
    cameras: tuple[CameraPicture, ...]

    @property
    def token(self) -> str:
        """Its sample token."""
        return self.place[1]

    @property
    def size(self) -> int:
        """Its bytes in the page, nearly."""
        pictures = sum(len(camera.jpeg_base64 or "") for camera in self.cameras)
        return pictures + sum(len(one.bird_eye) + sum(map(len, one.overlays.values())) for one in self.views)


@dataclass
class SampleSet:
    """The samples of a page for `ran`, the runs that ran with their labels."""

    ran: Sequence[tuple[str, RunData]]
    data: Samples | None
    also: Sequence[Samples] = ()
    _truths: dict[Place, Truth] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> list[Place]:
        """The samples of the cards, the worst of every run in turn; the first ones where nothing was evaluated."""
        ranked = [
            [(_root(run), record.metadata.sample_token) for record in (run.worst or run.first)] for _, run in self.ran
        ]
        in_turn = (place for rank in zip_longest(*ranked) for place in rank if place is not None)
        return list(dict.fromkeys(in_turn))[:MAX_CARDS]

    @cached_property
    def are_worst(self) -> bool:
        """Tell whether the cards show the worst samples, or only the first."""
        return any(run.worst for _, run in self.ran) or not self.chosen

    @cached_property
    def metadata(self) -> dict[Place, Metadata]:
        """The metadata of every sample of any run, of the first run that has it."""
        found: dict[Place, Metadata] = {}
        for _, run in self.ran:
            for meta in run.samples:
                found.setdefault((_root(run), meta.sample_token), meta)
        return found

    @cached_property
    def packed_places(self) -> list[Place]:
        """The samples that are packed, scene after scene: all, or the scenes of the cards first while they fit."""
        scenes: dict[tuple[str, str], list[Place]] = {}
        for place, meta in self.metadata.items():
            scenes.setdefault((place[0], meta.scene), []).append(place)
        known = [place for place in self.chosen if place in self.metadata]
        first = dict.fromkeys((place[0], self.metadata[place].scene) for place in known)
        kept: list[tuple[str, str]] = []
        count = 0
        for scene in (*first, *(scene for scene in scenes if scene not in first)):
            if not kept or count + len(scenes[scene]) <= MAX_PACKED:
                kept.append(scene)
                count += len(scenes[scene])
        places = [place for scene in scenes if scene in kept for place in scenes[scene]]
        left = [place for place in known if place not in set(places)]
        return places[: MAX_PACKED - len(left)] + left

    @cached_property
    def are_flat(self) -> bool:
        """Tell whether there are outputs, and none of them lies in space: pictures alone say it all."""
        records = [record for own in self.records for record in own.values() if record.metadata.status == "ok"]
        return bool(records) and not any(has for record in records for _, has in _tasks(record))

    @cached_property
    def records(self) -> list[dict[Place, Record]]:
        """Of each run, the records of the chosen and the packed samples: one pass over each run's folder."""
        wanted = {*self.chosen, *self.packed_places}
        return [
            {
                (root, record.metadata.sample_token): record
                for record in (*run.worst, *run.first, *_only(run.records, root, wanted))
            }
            for _, run in self.ran
            for root in [_root(run)]
        ]

    def truth(self, place: Place) -> Truth:
        """Read the ground truth of a sample once for all runs."""
        if place not in self._truths:
            with_map = any(not isinstance(own[place].map_elements, UnsetType) for own in self.records if place in own)
            data = next((one for one in self.also if str(one.root) == place[0]), self.data)
            self._truths[place] = load_truth(place[1], data, with_map=with_map)
        return self._truths[place]

    @cached_property
    def cards(self) -> tuple[list[SampleCard], int]:
        """The cards that the page can bear, and how many it cannot."""
        made, used = list[SampleCard](), 0
        for number, place in enumerate(self.chosen):
            card = self._make_card(place, number)
            if used + card.size <= CARD_BYTES:
                made.append(card)
                used += card.size
        return made, len(self.chosen) - len(made)

    def _make_card(self, place: Place, number: int) -> SampleCard:
        truth = self.truth(place)
        views = [
            self._view(index, label, run, self.records[index][place], truth)
            for index, (label, run) in enumerate(self.ran)
            if place in self.records[index] and self.records[index][place].metadata.status == "ok"
        ]
        meta = next(own[place].metadata for own in self.records if place in own)
        said = dict.fromkeys(note for one in views for note in one.view.notes)
        cameras = draw_cameras(views[0].view) if views else []
        problems = dict.fromkeys(f"{camera.title}: {camera.note}" for camera in cameras if camera.note)
        return SampleCard(
            id=f"sample-{number}",
            place=place,
            scene=meta.scene,
            index_in_scene=meta.index_in_scene,
            notes=(*said, *problems),
            views=tuple(views),
            cameras=tuple(cameras),
        )

    def _view(self, number: int, label: str, run: RunData, record: Record, truth: Truth) -> CardView:
        metrics = run.metrics or {}
        view = view_record(record, truth, cutoffs=metrics.get("operating_points"))
        if run.header is not None and "lidar" in run.header.provenance.sensors:
            view = with_points(view)
        token = record.metadata.sample_token
        entry: Mapping[str, Any] = next((one for one in metrics.get("worst", ()) if one["sample_token"] == token), {})
        return CardView(
            label=label,
            number=number,
            view=view,
            worst=entry,
            bird_eye=Markup(bird_eye_svg(view)),  # noqa: S704 - it escapes what it takes in
            overlays={name: draw_overlay(view, name) for name in camera_names(view)},
        )

    @cached_property
    def packed(self) -> Markup:
        """The packed samples as JSON for a script element, which `scripts/samples.js` reads; empty without any."""
        if not self.packed_places:
            return Markup()
        names, used, pictures = Names(), 0, 0
        samples: list[dict[str, Any]] = []
        for place in self._by_importance():
            sample = self._pack(place, names)
            size = sum(len(part) for pair in (sample["truth"], *sample["runs"].values()) for part in pair)
            if used + size > PACKED_BYTES and place not in self.chosen:
                continue
            used += size
            front = self._front_picture(place) if pictures < FRONT_BYTES else None
            pictures += len((front or {}).get("jpeg", ""))
            samples.append({**sample, "front": front})
        order = {place[1]: index for index, place in enumerate(self.packed_places)}
        samples.sort(key=lambda sample: order[sample["token"]])
        runs = [
            {"label": label, "cut": (run.metrics or {}).get("operating_points", {}), "evaluated": bool(run.metrics)}
            for label, run in self.ran
        ]
        total = len(self.metadata)
        content = {"runs": runs, "classes": list(names.known), "samples": samples, "total": total}
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - within a script element only `<` could end it

    def _by_importance(self) -> list[Place]:
        rest = [place for place in self.packed_places if place not in set(self.chosen)]
        return [*(place for place in self.packed_places if place in set(self.chosen)), *rest]

    def _pack(self, place: Place, names: Names) -> dict[str, Any]:
        meta, truth = self.metadata[place], self.truth(place)
        own = pack_truth(truth, names)
        runs: dict[str, tuple[str, ...]] = {}
        for number, (_, run) in enumerate(self.ran):
            record = self.records[number].get(place)
            if record is not None and record.metadata.status == "ok":
                cutoffs = (run.metrics or {}).get("operating_points")
                found = pack_record(record, truth, names, cutoffs=cutoffs)
                tasks = "".join(key for key, has in _tasks(record) if has)
                runs[str(number)] = (found.boxes, found.lines, tasks)
        return {
            "token": place[1],
            "scene": meta.scene,
            "index": meta.index_in_scene,
            "failed": [n for n, kept in enumerate(self.records) if place in kept and kept[place].metadata.failure],
            "truth": (own.boxes, own.lines),
            "runs": runs,
            "cameras": _cameras(truth) if place in self.chosen else {},
        }

    def _front_picture(self, place: Place) -> dict[str, Any] | None:
        """The picture of the front camera, or of the first one; None where there is none that can be read."""
        sample = self.truth(place).sample
        if sample is None or not sample["cameras"]:
            return None
        names = sorted(sample["cameras"], key=lambda name: (name != "CAM_FRONT", "front" not in name, name))
        camera = sample["cameras"][names[0]]
        try:
            image = load_picture(Path(camera["path"]), FRONT_WIDTH)
            projection = _projection(sample, names[0])
        except DataError:  # the card of the sample, or the missing picture itself, says so
            return None
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=FRONT_QUALITY, optimize=True)
        jpeg = base64.b64encode(buffer.getvalue()).decode("ascii")
        return {"name": names[0], "jpeg": jpeg, **projection}


def _cameras(truth: Truth) -> dict[str, Any]:
    """The projections of a sample's cameras; one whose calibration is unusable is left out."""
    if truth.sample is None:
        return {}
    found = {}
    for name in truth.sample["cameras"]:
        try:
            found[name] = _projection(truth.sample, name)
        except AdmlopsError:  # the picture's note says so
            continue
    return found


def _projection(sample: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A camera's picture size and its projection; the latter is None for pictures without calibration.

    Raises:
        DataError: the calibration is unusable.
    """
    camera = sample["cameras"][name]
    size = [int(camera["width"]), int(camera["height"])]
    if "ego2global" not in sample or "intrinsic" not in camera:
        return {"matrix": None, "size": size}
    matrix = projection_matrix(ego2global=sample["ego2global"], camera=camera)
    return {"matrix": [float(f"{value:.8g}") for value in np.ravel(matrix)], "size": size}


def _tasks(record: Record) -> Iterator[tuple[str, bool]]:
    yield "b", not isinstance(record.detections_3d, UnsetType)
    yield "m", not isinstance(record.map_elements, UnsetType)
    yield "l", not isinstance(record.lane_graph, UnsetType)


def _only(records: Iterable[Record], root: str, wanted: set[Place]) -> Iterator[Record]:
    return (record for record in records if (root, record.metadata.sample_token) in wanted)


def _root(run: RunData) -> str:
    return "" if run.header is None else run.header.data.root
