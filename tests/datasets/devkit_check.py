"""Run by the official evaluator's own Python: the devkit's loaders, map API, CAN bus API and DetectionEval.

Arguments: data root, working folder. Prints one JSON object.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.eval.detection.utils import category_to_detection_name, detection_name_to_rel_attributes
from nuscenes.map_expansion import map_api
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from nuscenes.utils.splits import create_splits_scenes
from PIL import Image


def check_samples(nusc: Any) -> Any:
    """Every image opens at its recorded size; every box holds as many points as its row says."""
    compared = 0
    for sample in nusc.sample:
        for channel, token in sample["data"].items():
            data = nusc.get("sample_data", token)
            path, boxes, _ = nusc.get_sample_data(token)
            if channel != "LIDAR_TOP":
                assert Image.open(path).size == (data["width"], data["height"])
                continue
            points = LidarPointCloud.from_file(path).points[:3]
            for box in boxes:
                wanted = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
                assert points_in_box(box, points).sum() == wanted, box
                compared += 1
    return compared


def check_sweeps(nusc: Any) -> Any:
    """Aggregation over sweeps walks the prev chain through ego poses and calibrations."""
    sample = nusc.sample[-1]
    cloud, times = LidarPointCloud.from_file_multisweep(nusc, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=3)
    assert cloud.points.shape[1] == times.shape[1]
    for data in nusc.sample_data:
        nusc.get_boxes(data["token"])


def check_maps(dataroot: str, nusc: Any) -> Any:
    """Every layer of every location, around every ego pose of a key frame."""
    counts: dict[str, Any] = {}
    for location in map_api.locations:
        nusc_map = map_api.NuScenesMap(dataroot, location)
        lanes = nusc_map.discretize_lanes([r["token"] for r in nusc_map.lane + nusc_map.lane_connector], 0.5)
        assert all(len(poses) > 1 for poses in lanes.values())
        for record in nusc_map.lane + nusc_map.lane_connector:
            path = nusc_map.get_arcline_path(record["token"])
            assert np.allclose(lanes[record["token"]][-1][:2], path[-1]["end_pose"][:2], atol=0.01)
            for other in nusc_map.get_outgoing_lane_ids(record["token"]):
                start = nusc_map.get_arcline_path(other)[0]["start_pose"]
                assert np.allclose(path[-1]["end_pose"][:2], start[:2], atol=0.01)
        for scene in nusc.scene:
            if nusc.get("log", scene["log_token"])["location"] == location:
                counts[scene["name"]] = check_patches(nusc, nusc_map, scene)
    return counts


def check_patches(nusc: Any, nusc_map: Any, scene: Any) -> Any:
    counts: dict[str, Any] = {}
    token = scene["first_sample_token"]
    while token:
        sample = nusc.get("sample", token)
        pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        x, y = pose["translation"][:2]
        layers = nusc_map.non_geometric_layers
        for name, geometry in nusc_map.get_map_geom((x, y, 60, 30), 30.0, layers):
            counts[name] = counts.get(name, 0) + len(geometry or [])
        nusc_map.get_map_mask((x, y, 60, 30), 0.0, ["drivable_area", "lane_divider", "ped_crossing"], (60, 30))
        nusc_map.get_records_in_patch((x - 30, y - 30, x + 30, y + 30), nusc_map.non_geometric_layers)
        assert nusc_map.layers_on_point(x, y)["drivable_area"]
        assert nusc_map.get_closest_lane(x, y)
        nusc_map.get_next_roads(x, y)
        token = sample["next"]
    return counts


def check_can_bus(dataroot: str, nusc: Any) -> Any:
    can_bus = NuScenesCanBus(dataroot)
    for scene in nusc.scene:
        counts = {name: len(can_bus.get_messages(scene["name"], name)) for name in can_bus.all_messages}
        assert all(counts.values()), counts
        can_bus.get_pose_and_route(scene["name"], print_warnings=False)
    return counts


def evaluate_ground_truth(nusc: Any, folder: str) -> Any:
    """The annotations as predictions: mAP over the classes that mini_val has must be 1."""
    val = [s for s in nusc.sample if nusc.get("scene", s["scene_token"])["name"] in create_splits_scenes()["mini_val"]]
    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    results: dict[str, list[Any]] = {sample["token"]: [] for sample in val}
    present = set()
    for sample in val:
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            name = category_to_detection_name(row["category_name"])
            if name is None or not row["num_lidar_pts"]:  # the evaluator drops ground truth without points
                continue
            velocity = nusc.box_velocity(token)[:2]
            given = [attributes[attribute] for attribute in row["attribute_tokens"]]
            allowed = detection_name_to_rel_attributes(name)
            assert bool(given) == bool(allowed)
            assert all(attribute in allowed for attribute in given)
            present.add(name)
            results[sample["token"]].append(
                {
                    "sample_token": sample["token"],
                    "translation": row["translation"],
                    "size": row["size"],
                    "rotation": row["rotation"],
                    "velocity": [0.0 if np.isnan(v) else float(v) for v in velocity],
                    "detection_name": name,
                    "detection_score": 1.0,
                    "attribute_name": given[0] if given else "",
                }
            )
    path = Path(folder) / "results.json"
    meta = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}
    path.write_text(json.dumps({"meta": meta, "results": results}))
    evaluation = DetectionEval(
        nusc, config_factory("detection_cvpr_2019"), str(path), "mini_val", folder, verbose=False
    )
    metrics, _ = evaluation.evaluate()
    counted = {box.detection_name for boxes in evaluation.gt_boxes.boxes.values() for box in boxes}
    return {name: metrics.mean_dist_aps[name] for name in sorted(present & counted)}, metrics.tp_errors


def main() -> None:
    dataroot, folder = sys.argv[1:]
    nusc = NuScenes("v1.0-mini", dataroot, verbose=False)
    for row in nusc.map:
        assert row["mask"].mask().any()
    report = {"scenes": len(nusc.scene), "samples": len(nusc.sample), "boxes": check_samples(nusc)}
    check_sweeps(nusc)
    report["map"] = check_maps(dataroot, nusc)
    report["can_bus"] = check_can_bus(dataroot, nusc)
    report["ap"], report["errors"] = evaluate_ground_truth(nusc, folder)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
