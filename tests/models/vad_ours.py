# ruff: noqa: UP006, UP035  the classic environment has Python 3.8
"""Run by VAD's environment: whole scenes through the adapter, as vad_upstream.py runs them; all it gives to files.

    python vad_ours.py {"config", "checkpoint", "draw": seed, "fixes", "dataroot", "each", "folder"}

The network sees the first `each` samples of a scene; infos are made of all. A checkpoint of random weights is written
first, to `checkpoint`.
"""

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
from inside_model import describe_bev_inputs, load_adapter, load_drawn, read_request

from worker.samples.sample_index import SampleIndex


def main() -> None:
    wanted = read_request()
    adapter = load_adapter("VAD")
    fixes = load_drawn(adapter, wanted, fixes=wanted["fixes"])
    arrays: Dict[str, Any] = {}
    outputs: Dict[str, Any] = {}
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    for scene in index.scene_names():
        adapter.start_scene(scene)
        for number, token in enumerate(index.samples_of_scene(scene)):
            sample = {**index.sample(token), "context": index.context(token)}
            found = {key: np.array(value) for key, value in info_of(adapter, sample).items()}
            if number < wanted["each"]:
                outputs[token] = run_one(adapter, sample, found)
            arrays.update({f"{token}.{key}": value for key, value in found.items()})
    np.savez(Path(wanted["folder"]) / "ours.npz", **arrays)
    (Path(wanted["folder"]) / "ours.json").write_text(json.dumps({"fixes": fixes, "outputs": outputs}))


def run_one(adapter: Any, sample: Dict[str, Any], arrays: Dict[str, Any]) -> Any:
    """Add the sample's inputs and results to `arrays`; returns its record's outputs."""
    inputs = adapter.prepare(sample)
    arrays.update(describe_bev_inputs(inputs, can_bus="bev_can_bus"))
    raw = adapter.forward(inputs)
    outputs = adapter.convert(raw, sample)
    arrays.update({key: np.asarray(getattr(value, "tensor", value)) for key, value in raw[0]["pts_bbox"].items()})
    return outputs


def info_of(adapter: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    """What the sample's info holds of the vehicle's motion."""
    info = adapter.make_info(sample)
    return {key: info[key] for key in info if key.startswith("gt_ego") or key in ("fut_valid_flag", "can_bus")}


if __name__ == "__main__":
    main()
