# ruff: noqa: UP006, UP035  the classic environment has Python 3.8
"""Run by MapTR's environment: the same sample as maptr_upstream.py through the adapter, its tensors to a file.

    python maptr_ours.py {"config", "checkpoint" or "", "draw": seed, "dataroot", "token", "folder"}

With `draw`, a checkpoint of random weights is written first, to `checkpoint`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "envs" / "MapTR"), str(CHECKOUT / "runners")]

import numpy as np  # noqa: E402
from demo import MapTR  # noqa: E402

from inside.adapter import Settings  # noqa: E402
from inside.mmlab.weights import save_random  # noqa: E402
from inside.sample_index import SampleIndex  # noqa: E402


def main() -> None:
    wanted = json.loads(sys.argv[1])
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    sample = index.sample(wanted["token"])
    sample["context"] = index.context(wanted["token"])
    adapter = MapTR()
    seed = wanted["draw"]
    began = time.perf_counter()
    adapter.load(Settings(config=wanted["config"], options={"weights": f"random:{seed}"}))
    save_random(adapter._model, seed, wanted["checkpoint"])
    loaded = time.perf_counter()
    adapter.start_scene(sample["scene"])
    inputs = adapter.prepare(sample)
    prepared = time.perf_counter()
    arrays = describe_inputs(inputs)
    raw = adapter.forward(inputs)
    called = time.perf_counter()
    arrays.update({key: np.asarray(value) for key, value in raw[0]["pts_bbox"].items()})
    elements = adapter.convert(raw, sample)["map_elements"]
    arrays["elements"] = np.array([element["points"] for element in elements])
    arrays["times"] = np.array([loaded - began, prepared - loaded, called - prepared, time.perf_counter() - called])
    np.savez(Path(wanted["folder"]) / "ours.npz", **arrays)


def describe_inputs(inputs: Dict[str, Any]) -> Dict[str, Any]:
    """Copies, before the call: upstream changes its inputs in place."""
    metas = inputs["img_metas"][0][0]
    return {
        "img": inputs["img"][0].numpy().copy(),
        "can_bus": metas["can_bus"].copy(),
        "lidar2img": np.stack(metas["lidar2img"]),
    }


if __name__ == "__main__":
    main()
