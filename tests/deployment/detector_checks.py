"""Run by a model's environment: an exported file beside PyTorch on a scene, at two places of the map and on two rigs.

    python detector_checks.py {"model", "config", "form", "weights", "file", "tools": folder of ONNX Runtime,
                               "dataroot", "subset", "tokens", "out"}

With `subset` the data are OpenLane-V2's. One token alone is made a scene of four: the same pictures, half a second and
four metres on each. Writes JSON: of each
place and rig, `tensors`, the largest difference of each output from PyTorch's own state, and `outputs`, the records'
outputs of the file, of the exported form in PyTorch and of the authors' forward, each with its own state.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

from inside_model import CHECKOUT, load_adapter, read_request

from worker.adapter import Settings
from worker.engine import EngineAdapter
from worker.in_pytorch import TorchSession, torch_reference
from worker.network import DEFAULT_FORM, load_network
from worker.runtimes.base import load_runtime
from worker.samples.moved_rig import move_rig
from worker.samples.openlane import OpenLane
from worker.samples.sample_index import SampleIndex
from worker.verify import compare

FRAMES, STEP_M, STEP_S = 4, 4.0, 0.5
PLACES_M = (0.0, 1000.0)


def main() -> None:
    wanted = read_request()
    sys.path.append(wanted["tools"])
    adapter = load_adapter(wanted["model"])
    adapter.load(Settings(config=wanted["config"], options={"weights": wanted["weights"]}))
    network = load_network(adapter, wanted.get("form", DEFAULT_FORM))
    file = str(CHECKOUT / "runners" / "worker" / "runtimes" / "onnxruntime.py")
    session = load_runtime({"id": "onnxruntime", "file": file}).open(wanted["file"], device="cpu")
    samples = read_samples(wanted)
    found: dict[str, Any] = {}
    for place in PLACES_M:
        moved = [move(sample, samples[0], place) for sample in samples]
        tensors, _ = compare(network, torch_reference(network), session.run, moved)
        for rig in ("given", "moved"):
            own = moved if rig == "given" else [move_rig(sample) for sample in moved]
            found[f"{place:g} {rig}"] = {
                "tensors": {one.name: one.to_json() for one in tensors if one.rig == rig},
                "outputs": {
                    "file": run(EngineAdapter(adapter, network, session), own),
                    "pytorch": run(EngineAdapter(adapter, network, TorchSession(network)), own),
                    "authors": run(adapter, own) if rig == "given" else None,
                },
            }
    Path(wanted["out"]).write_text(json.dumps(found))


def read_samples(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    if "subset" in wanted:
        lanes = OpenLane(wanted["dataroot"], wanted["subset"])
        return [lanes.sample(token) for token in wanted["tokens"]]
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    samples = [{**index.sample(token), "context": index.context(token)} for token in wanted["tokens"]]
    if len(samples) > 1:
        return samples
    return [later(samples[0], number) for number in range(FRAMES)]


def later(sample: dict[str, Any], number: int) -> dict[str, Any]:
    """The same pictures, some steps on."""
    stepped = shift(sample, [number * STEP_M, 0.0, 0.0])
    return {**age(stepped, round(number * STEP_S * 1e6)), "index_in_scene": number, "sample_token": str(number)}


def move(sample: dict[str, Any], first: dict[str, Any], place_m: float) -> dict[str, Any]:
    """The sample where the scene begins so far from the map's origin."""
    x, y, _ = first.get("lidar", first)["ego2global"]["translation"]
    moved: dict[str, Any] = shift(sample, [place_m - x, place_m / 2 - y, 0.0])
    return moved


def shift(value: Any, by_m: list[float]) -> Any:
    """Every pose of the vehicle, moved."""
    if isinstance(value, dict):
        moved = {key: shift(item, by_m) for key, item in value.items()}
        if "ego2global" in moved:
            pose = copy.deepcopy(moved["ego2global"])
            pose["translation"] = [float(a) + b for a, b in zip(pose["translation"], by_m, strict=True)]
            moved["ego2global"] = pose
        return moved
    return [shift(item, by_m) for item in value] if isinstance(value, list) else value


def age(value: Any, by_us: int) -> Any:
    """Every time, later."""
    if isinstance(value, dict):
        return {key: item + by_us if key == "timestamp_us" else age(item, by_us) for key, item in value.items()}
    return [age(item, by_us) for item in value] if isinstance(value, list) else value


def run(adapter: Any, samples: list[dict[str, Any]]) -> list[Any]:
    adapter.start_scene("scene")
    return [adapter.convert(adapter.forward(adapter.prepare(sample)), sample) for sample in samples]


if __name__ == "__main__":
    main()
