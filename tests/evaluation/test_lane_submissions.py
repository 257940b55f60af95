"""OpenLane-V2 submissions, pickles and JSON; with `full`, beside the devkit, which reads the very same file."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import OpenLaneScenes
from tests.evaluation.taken_files import measure, silent, take, values_of

from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.environments import ensure_official
from admlops.evaluation.lane_graph.protocols import METRICS, OPENLANE_1_1
from admlops.evaluation.submissions.pickled import write_pickle as write_numpy_1
from admlops.pipeline.export_submission import export_submission
from admlops.synthetic.openlane_writer import OpenLaneOptions

Frames = dict[tuple[str, str, str], Any]


@pytest.fixture(scope="module")
def lanes(openlane: OpenLaneScenes) -> OpenLaneV2:
    return OpenLaneV2(openlane(OpenLaneOptions(scenes=2, samples=3, seed=1, scale=0.25)))


def key_of(token: str) -> tuple[str, str, str]:
    split, segment, stamp = token.split("-")
    return split, segment, stamp


def make_frames(data: OpenLaneV2) -> tuple[Frames, Frames]:
    """What somebody predicts of every frame, single precision, and the ground truth, both in the devkit's form."""
    found, truth = {}, {}
    for scene in data.scenes_of_split("val"):
        for number, token in enumerate(scene.samples):
            there = data.lane_annotation(token)
            rng = np.random.default_rng([number, *token.encode()])
            elements = [
                {"points": box.reshape(2, 2), "attribute": int(kind)}
                for box, kind in zip(there.elements, there.attributes, strict=True)
            ]
            truth[key_of(token)] = {
                "annotation": {
                    "lane_centerline": [{"points": points} for points in there.lanes],
                    "traffic_element": elements,
                    "topology_lclc": there.lane_to_lane,
                    "topology_lcte": there.lane_to_traffic,
                }
            }
            found[key_of(token)] = {"predictions": _predict(truth[key_of(token)]["annotation"], rng)}
    return found, truth


def _predict(there: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    lanes = [own["points"] + rng.normal(0, 0.5, (1, 3)) for own in there["lane_centerline"] for _ in range(2)]
    elements = [(own["points"] + rng.normal(0, 2, (2, 2)), own["attribute"]) for own in there["traffic_element"]]
    count, signs = len(lanes), len(elements)
    edges = np.repeat(np.repeat(there["topology_lclc"], 2, axis=0), 2, axis=1)
    rules = np.repeat(there["topology_lcte"], 2, axis=0)
    return {
        "lane_centerline": [
            {"id": index, "points": points.astype(np.float32), "confidence": np.float32(rng.random())}
            for index, points in enumerate(lanes)
        ],
        "traffic_element": [
            {
                "id": 1000 + index,
                "points": points.astype(np.float32),
                "attribute": kind,
                "confidence": np.float32(rng.random()),
            }
            for index, (points, kind) in enumerate(elements)
        ],
        "topology_lclc": (0.4 * edges + 0.6 * rng.random((count, count))).astype(np.float32),
        "topology_lcte": (0.4 * rules + 0.6 * rng.random((count, signs))).astype(np.float32),
    }


def write_pickle(path: Path, frames: Frames, **about: object) -> Path:
    with path.open("wb") as file:
        write_numpy_1({"method": "m", "authors": ["a"], **about, "results": frames}, file)
    return path


def _each(change: Callable[[dict[str, Any]], object]) -> Callable[[Frames], Frames]:
    def all_frames(frames: Frames) -> Frames:
        for frame in frames.values():
            change(frame["predictions"])
        return frames

    return all_frames


def _logits(found: dict[str, Any]) -> None:
    for one in found["lane_centerline"]:
        one["confidence"] = float(8 * one["confidence"] - 4)
    found["topology_lclc"] = 3 * found["topology_lclc"] - 1


def _nothing(found: dict[str, Any]) -> None:
    found.update(lane_centerline=[], traffic_element=[])
    found.update(topology_lclc=np.zeros((0, 0), np.float32), topology_lcte=np.zeros((0, 0), np.float32))


def _double(found: dict[str, Any]) -> None:
    for one in (*found["lane_centerline"], *found["traffic_element"]):
        one["points"] = one["points"].astype(np.float64)
    found["topology_lclc"] = found["topology_lclc"].astype(np.float64)


TAKEN: dict[str, Callable[[Frames], Frames]] = {
    "plain": lambda frames: frames,
    "backwards": lambda frames: dict(reversed(frames.items())),
    "logits": _each(_logits),
    "more frames": lambda frames: {("val", "0", "1"): next(iter(frames.values())), **frames},
    "double precision": _each(_double),
    "nothing": _each(_nothing),
}


def _first(frames: Frames) -> dict[str, Any]:
    own: dict[str, Any] = next(iter(frames.values()))["predictions"]
    return own


REFUSED: dict[str, tuple[Callable[[Frames], object], str]] = {
    "a frame missing": (lambda frames: frames.pop(next(iter(frames))), "of split val are missing"),
    "no topology": (lambda frames: _first(frames).pop("topology_lclc"), "frame val-.*: topology_lclc is missing"),
    "a smaller topology": (
        lambda frames: _first(frames).update(topology_lcte=np.zeros((1, 1))),
        "frame val-.*: topology_lcte is 1 x 1, and not",
    ),
    "an id twice": (lambda frames: _first(frames)["lane_centerline"][0].update(id=1), "are not unique"),
    "flat points": (
        lambda frames: _first(frames)["lane_centerline"][0].update(points=np.zeros((3, 2))),
        r"frame val-.*, lane_centerline 0: points are not \(#points, 3\)",
    ),
    "no confidence": (lambda frames: _first(frames)["lane_centerline"][0].pop("confidence"), "confidence is None"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", [*TAKEN, *REFUSED])
def test_the_devkit_says_the_same_of_the_file(name: str, lanes: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    try:
        environment = ensure_official(layout, "openlanev2", say=silent)
    except EnvError as error:
        pytest.skip(f"the devkit cannot be installed: {error}")
    found, truth = make_frames(lanes)
    if name in TAKEN:
        found = TAKEN[name](found)
    else:
        REFUSED[name][0](found)
    file, truth_file, out = write_pickle(tmp_path / "result.pkl", found), tmp_path / "truth.pkl", tmp_path / "out.json"
    with truth_file.open("wb") as stream:
        write_numpy_1(truth, stream)
    program = Path(__file__).with_name("lane_submission_oracle.py")
    subprocess.run([environment.python, program, truth_file, file, out], check=True, timeout=300)
    theirs = json.loads(out.read_text())
    assert ("refused" in theirs) == (name in REFUSED), theirs
    if name in REFUSED:
        with pytest.raises(UsageError):
            take(layout, file, lanes)
        return
    ours = values_of(measure(layout, take(layout, file, lanes), lanes), OPENLANE_1_1)
    assert ours == pytest.approx({metric: theirs[metric] for metric in METRICS}, abs=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(name: str, lanes: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    found, _ = make_frames(lanes)
    change, said = REFUSED[name]
    change(found)
    with pytest.raises(UsageError, match=said) as refused:
        take(layout, write_pickle(tmp_path / "result.pkl", found), lanes)
    assert "result.pkl" in refused.value.message


def test_json_and_there_and_back(lanes: OpenLaneV2, layout: Layout, tmp_path: Path) -> None:
    """The same frames as JSON, keys joined, and as the pickle that a run is exported to, give the same numbers."""
    found, _ = make_frames(lanes)
    run = take(layout, write_pickle(tmp_path / "result.pkl", found), lanes)
    content = {"method": "m", "results": {"-".join(key): _plain(frame) for key, frame in found.items()}}
    (tmp_path / "result.json").write_text(json.dumps(content))
    other = take(layout, tmp_path / "result.json", lanes)
    out = tmp_path / "out.pkl"
    assert export_submission(run, "openlanev2", out) == len(found)
    again = take(layout, out, lanes)
    expected = values_of(measure(layout, run, lanes), OPENLANE_1_1)
    assert expected["OLS"]
    for one in (other, again):
        assert values_of(measure(layout, one, lanes), OPENLANE_1_1) == expected
    assert b"numpy._core" not in out.read_bytes()  # which NumPy 1, and so the server, does not know
    written = pickle.loads(out.read_bytes())
    assert set(written["results"]) == set(found)
    key = next(iter(found))
    np.testing.assert_array_equal(
        written["results"][key]["predictions"]["topology_lclc"], found[key]["predictions"]["topology_lclc"]
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_plain(own) for own in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
