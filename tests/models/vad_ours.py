# ruff: noqa: UP006, UP035  the classic environment has Python 3.8
"""Run by VAD's environment: whole scenes through the adapter, as vad_upstream.py runs them; all it gives to files.

    python vad_ours.py {"config", "checkpoint", "draw": seed, "fixes", "dataroot", "each", "folder"}

The network sees the first `each` samples of a scene; infos are made of all. A checkpoint of random weights is written
first, to `checkpoint`.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Dict

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "envs" / "VAD"), str(CHECKOUT / "runners")]

import numpy as np  # noqa: E402
from demo import VAD  # noqa: E402

from inside.adapter import Settings  # noqa: E402
from inside.mmlab.weights import save_random  # noqa: E402
from inside.sample_index import SampleIndex  # noqa: E402


def main() -> None:
    wanted = json.loads(sys.argv[1])
    adapter = VAD()
    seed = wanted["draw"]
    began = time.perf_counter()
    options = {"weights": f"random:{seed}", "fixes": wanted["fixes"]}
    fixes = adapter.load(Settings(config=wanted["config"], options=options))
    times = {"load": time.perf_counter() - began, "samples": []}
    save_random(adapter._model, seed, wanted["checkpoint"])
    arrays: Dict[str, Any] = {}
    outputs: Dict[str, Any] = {}
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    for scene in index.scene_names():
        adapter.start_scene(scene)
        for number, token in enumerate(index.samples_of_scene(scene)):
            sample = {**index.sample(token), "context": index.context(token)}
            arrays.update({f"{token}.{key}": np.array(value) for key, value in info_of(adapter, sample).items()})
            if number < wanted["each"]:
                outputs[token] = one(adapter, sample, arrays, times["samples"])
    times["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    np.savez(Path(wanted["folder"]) / "ours.npz", **arrays)
    said = {"fixes": fixes, "outputs": outputs, "times": times}
    (Path(wanted["folder"]) / "ours.json").write_text(json.dumps(said))


def one(adapter: VAD, sample: Dict[str, Any], arrays: Dict[str, Any], times: Any) -> Any:
    """Add the sample's inputs and results to `arrays`, its seconds to `times`; returns its record's outputs."""
    token = sample["sample_token"]
    began = time.perf_counter()
    inputs = adapter.prepare(sample)
    prepared = time.perf_counter()
    arrays.update({f"{token}.{key}": value for key, value in describe_inputs(inputs).items()})
    called = time.perf_counter()
    raw = adapter.forward(inputs)
    returned = time.perf_counter()
    outputs = adapter.convert(raw, sample)
    times.append([prepared - began, returned - called, time.perf_counter() - returned])
    for key, value in raw[0]["pts_bbox"].items():
        arrays[f"{token}.{key}"] = np.asarray(getattr(value, "tensor", value))
    return outputs


def describe_inputs(inputs: Dict[str, Any]) -> Dict[str, Any]:
    """Copies, before the call: upstream changes its inputs in place."""
    metas = inputs["img_metas"][0][0]
    return {
        "img": inputs["img"][0].numpy().copy(),
        "bev_can_bus": metas["can_bus"].copy(),
        "lidar2img": np.stack(metas["lidar2img"]),
    }


def info_of(adapter: VAD, sample: Dict[str, Any]) -> Dict[str, Any]:
    """What the sample's info holds of the vehicle's motion."""
    info = adapter.make_info(sample)
    return {key: info[key] for key in info if key.startswith("gt_ego") or key in ("fut_valid_flag", "can_bus")}


if __name__ == "__main__":
    main()
