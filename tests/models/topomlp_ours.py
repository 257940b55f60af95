# ruff: noqa: UP006, UP035  the classic environment has Python 3.8
"""Run by TopoMLP's environment: the same frame as topomlp_upstream.py through the adapter, its arrays to a file.

    python topomlp_ours.py {"config", "checkpoint", "draw": seed, "dataroot", "token", "folder"}

A checkpoint of random weights is written first, to `checkpoint`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "envs" / "TopoMLP"), str(CHECKOUT / "runners")]

import numpy as np  # noqa: E402
from demo import TopoMLP  # noqa: E402

from inside.adapter import Settings  # noqa: E402
from inside.mmlab.weights import save_random  # noqa: E402
from inside.openlane import OpenLane, find_version  # noqa: E402


def main() -> None:
    wanted = json.loads(sys.argv[1])
    frames = OpenLane(wanted["dataroot"], find_version(wanted["dataroot"], wanted["token"]))
    sample = frames.sample(wanted["token"])
    adapter = TopoMLP()
    seed = wanted["draw"]
    times = [time.perf_counter()]
    adapter.load(Settings(config=wanted["config"], options={"weights": f"random:{seed}"}))
    times.append(time.perf_counter())
    save_random(adapter._model, seed, wanted["checkpoint"])
    arrays: Dict[str, Any] = {}
    watch_heads(adapter._model, arrays)
    adapter.start_scene(sample["scene"])
    for _ in range(wanted.get("calls", 1)):
        began = time.perf_counter()
        inputs = adapter.prepare(sample)
        times.append(time.perf_counter() - began)
        arrays["img"] = inputs["img"].numpy().copy()
        arrays["lidar2img"] = np.stack(inputs["img_metas"][0]["lidar2img"])
        began = time.perf_counter()
        raw = adapter.forward(inputs)
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
        graph = adapter.convert(raw, sample)["lane_graph"]
        times.append(time.perf_counter() - began)
    arrays.update(describe_graph(graph))
    np.savez(Path(wanted["folder"]) / "ours.npz", times=np.diff(times[:2]).tolist() + times[2:], **arrays)


def watch_heads(model: Any, arrays: Dict[str, Any]) -> None:
    """Keep what the network's heads give, before it is squashed into confidences and coordinates."""
    call = model.simple_forward

    def watched(*arguments: Any, **keywords: Any) -> Any:
        outputs = call(*arguments, **keywords)
        for name in ("all_lc_cls_scores", "all_lc_preds", "all_te_cls_scores", "all_te_preds"):
            arrays[name] = outputs[name + "_list"].numpy().copy()
        for name in ("all_lclc_preds", "all_lcte_preds"):
            arrays[name] = outputs[name + "_list"].numpy().copy()
        return outputs

    model.simple_forward = watched


def describe_graph(graph: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "lanes": np.array([lane["points"] for lane in graph["lanes"]]),
        "lane_confidences": np.array([lane["confidence"] for lane in graph["lanes"]]),
        "boxes": np.array([element["bbox_xyxy"] for element in graph["traffic_elements"]]),
        "attributes": np.array([element["attribute"] for element in graph["traffic_elements"]]),
        "element_confidences": np.array([element["confidence"] for element in graph["traffic_elements"]]),
        "lane_to_lane": np.array(graph["lane_to_lane"]),
        "lane_to_traffic": np.array(graph["lane_to_traffic"]),
    }


if __name__ == "__main__":
    main()
