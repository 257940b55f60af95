"""TopoMLP's adapter: the lane graph from OpenLane-V2's cameras, by the source in submodules/TopoMLP.

The network reads the ego frame of OpenLane-V2, in which records are as well. It also takes nuScenes' six cameras, which
subset B was made from; nobody has shown that the vehicle's frames of the two are one, so such runs are marked
`off-distribution`.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

HERE = Path(__file__).resolve().parent
SUBMODULES = HERE.parents[1] / "submodules"
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

import numpy as np  # noqa: E402
from frames import FramePipeline, make_frame  # noqa: E402

from worker.adapter import Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.common.relations import relation  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402
from worker.mmlab.v1.overlay import import_mmdet3d_1, stub_compiled  # noqa: E402


class TopoMLP(MmAdapter):
    """TopoMLP on mmdet3d 1.0.0rc6 and the OpenLane-V2 devkit 1.1, in both variants."""

    name = "TopoMLP"
    default_config = "projects/configs/topomlp_setA_r50_wo_yolov8.py"
    source_paths = (str(SUBMODULES / "mmdetection3d-1.0.0rc6"), str(SUBMODULES / "OpenLane-V2"))

    def source_root(self) -> str:
        return str(SUBMODULES / "TopoMLP")

    def import_libraries(self) -> None:
        """mmdet3d, and the devkit without the solver of its F-score, which later ortools have elsewhere."""
        stub_compiled("ortools.graph", ("pywrapgraph",))
        import_mmdet3d_1()

    def make_training_infos(self, root: str, version: str) -> str:
        """Collect the frames of training as the devkit's preprocess.py does, at every point of their lanes."""
        frames = json.loads(Path(root, f"data_dict_{version}.json").read_text(encoding="utf-8"))
        name = f"data_dict_{version}_train"
        load_library("openlanev2.preprocessing").collect(root, {"train": frames["train"]}, name, point_interval=1)
        return str(Path(root, name + ".pkl"))

    def set_training_data(self, config: Any, data: Mapping[str, Any]) -> None:
        """The devkit's collection of training frames lies in the data set's root, where it is read from."""
        config.data.train.data_root = config.data.train.meta_root = data["root"]
        config.data.train.collection = Path(data["train"]).stem

    def load(self, settings: Settings) -> List[str]:
        self._any_cameras = bool(settings.options.get("off_distribution"))
        self._whole_relations = settings.options.get("relations") == "whole"
        return super().load(settings)

    def make_pipeline(self, config: Any) -> FramePipeline:
        self._pipeline = FramePipeline(config, any_cameras=self._any_cameras)
        return self._pipeline

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        return make_frame(sample)

    def pictures(self, info: Dict[str, Any]) -> List[str]:
        """The cameras' files: a frame of the devkit's calls them otherwise than an info of mmdet3d's."""
        return ["/" + camera["image_path"] for camera in info["sensor"].values()]

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """As every model; what formats its results is told of the frame, which another process may have read."""
        self._pipeline.open(make_frame(sample))
        return super().place(read, sample)

    def convert(self, raw: List[Dict[str, Any]], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The lanes, best first, the traffic elements and how they connect."""
        return {"lane_graph": lane_graph(self._pipeline.format(raw[0]), whole=self._whole_relations)}


def lane_graph(prediction: Dict[str, Any], *, whole: bool = False) -> Dict[str, Any]:
    """The standard record of what upstream would submit for a frame.

    Args:
        prediction: `lane_centerline` (`points` (n, 3) [m] in the ego frame, `confidence`), `traffic_element` (`points`
            (2, 2) [pixels of the front picture], `attribute`, `confidence`), `topology_lclc` (lanes, lanes) and
            `topology_lcte` (lanes, elements).
        whole: whether relations are whole matrices, or their likely entries where those are shorter.
    """
    lanes, elements = prediction["lane_centerline"], prediction["traffic_element"]
    topology = {name: np.asarray(prediction[name], dtype=np.float64) for name in ("topology_lclc", "topology_lcte")}
    order = np.argsort([-float(lane["confidence"]) for lane in lanes], kind="stable")
    return {
        "lanes": [
            {
                "id": index,
                "points": np.asarray(lanes[place]["points"], dtype=np.float64).tolist(),
                "confidence": float(lanes[place]["confidence"]),
            }
            for index, place in enumerate(order)
        ],
        "traffic_elements": [
            {
                "id": index,
                "attribute": int(element["attribute"]),
                "bbox_xyxy": np.asarray(element["points"], dtype=np.float64).ravel().tolist(),
                "confidence": float(element["confidence"]),
            }
            for index, element in enumerate(elements)
        ],
        "lane_to_lane": relation(topology["topology_lclc"][order][:, order], whole=whole),
        "lane_to_traffic": relation(topology["topology_lcte"][order], whole=whole),
    }


if __name__ == "__main__":
    sys.exit(main(TopoMLP))
