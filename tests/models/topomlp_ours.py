# ruff: noqa: UP006, UP035  the classic environment has Python 3.8
"""Run by TopoMLP's environment: the same frame as topomlp_upstream.py through the adapter, its arrays to a file.

    python topomlp_ours.py {"config", "checkpoint", "draw": seed, "dataroot", "token", "folder"}

A checkpoint of random weights is written first, to `checkpoint`.
"""

from pathlib import Path
from typing import Any, Dict

import numpy as np
from inside_model import load_adapter, load_drawn, read_request

from worker.samples.openlane import OpenLane, find_version


def main() -> None:
    wanted = read_request()
    frames = OpenLane(wanted["dataroot"], find_version(wanted["dataroot"], wanted["token"]))
    sample = frames.sample(wanted["token"])
    adapter = load_adapter("TopoMLP")
    load_drawn(adapter, wanted, relations="whole")
    arrays: Dict[str, Any] = {}
    watch_heads(adapter._model, arrays)
    adapter.start_scene(sample["scene"])
    inputs = adapter.prepare(sample)
    arrays["img"] = inputs["img"].numpy().copy()
    arrays["lidar2img"] = np.stack(inputs["img_metas"][0]["lidar2img"])
    arrays.update(describe_graph(adapter.convert(adapter.forward(inputs), sample)["lane_graph"]))
    np.savez(Path(wanted["folder"]) / "ours.npz", **arrays)


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
