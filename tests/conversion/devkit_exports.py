"""Run by the official evaluator's own Python: nuscenes-devkit's exports to 2D boxes and to KITTI, scene by scene.

Arguments: data root, version, width, height, output file. Its two scripts read global state and arguments of their own,
so the functions that they are made of are called here as they call them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.scripts.export_2d_annotations_as_json import post_process_coords
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import BoxVisibility, transform_matrix, view_points
from nuscenes.utils.kitti import KittiDB
from pyquaternion import Quaternion

TURN = Quaternion(axis=(0, 0, 1), angle=np.pi / 2)


def boxes_2d(nusc: Any, token: str, size: Any) -> Any:
    """As `get_2d_boxes` of export_2d_annotations_as_json.py."""
    data = nusc.get("sample_data", token)
    mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    pose = nusc.get("ego_pose", data["ego_pose_token"])
    found = []
    for annotation in nusc.get("sample", data["sample_token"])["anns"]:
        box = nusc.get_box(annotation)
        box.translate(-np.array(pose["translation"]))
        box.rotate(Quaternion(pose["rotation"]).inverse)
        box.translate(-np.array(mount["translation"]))
        box.rotate(Quaternion(mount["rotation"]).inverse)
        corners = box.corners()
        corners = corners[:, np.argwhere(corners[2, :] > 0).flatten()]
        pixels = view_points(corners, np.array(mount["camera_intrinsic"]), True).T[:, :2].tolist()
        if not pixels:
            continue
        try:
            bounds = post_process_coords(pixels, size)
        except AttributeError:  # a hull without an area: its own script ends here
            continue
        if bounds is not None:
            found.append([annotation, *bounds])
    return found


def kitti(nusc: Any, sample: Any, size: Any) -> Any:
    """As the loop of `nuscenes_gt_to_kitti` of export_kitti.py."""
    camera = nusc.get("sample_data", sample["data"]["CAM_FRONT"])
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    of_camera = nusc.get("calibrated_sensor", camera["calibrated_sensor_token"])
    of_lidar = nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
    to_ego = transform_matrix(of_lidar["translation"], Quaternion(of_lidar["rotation"]), inverse=False)
    to_camera = transform_matrix(of_camera["translation"], Quaternion(of_camera["rotation"]), inverse=True)
    velo_to_cam = np.dot(np.dot(to_camera, to_ego), TURN.transformation_matrix)
    projection = np.zeros((3, 4))
    projection[:3, :3] = of_camera["camera_intrinsic"]
    rotation = Quaternion(matrix=velo_to_cam[:3, :3])
    lines = []
    for token in sample["anns"]:
        _, (box,), _ = nusc.get_sample_data(
            lidar["token"], box_vis_level=BoxVisibility.NONE, selected_anntokens=[token]
        )
        name = category_to_detection_name(nusc.get("sample_annotation", token)["category_name"])
        if name is None:
            continue
        own = KittiDB.box_nuscenes_to_kitti(box, rotation, velo_to_cam[:3, 3], Quaternion(axis=[1, 0, 0], angle=0))
        bounds = KittiDB.project_kitti_box_to_image(own, projection, imsize=size)
        if bounds is not None:
            own.score = 0
            lines.append(KittiDB.box_to_string(name=name, box=own, bbox_2d=bounds, truncation=0.0, occlusion=0))
    cloud = LidarPointCloud.from_file(nusc.get_sample_data_path(lidar["token"]))
    cloud.rotate(TURN.inverse.rotation_matrix)
    return {"lines": lines, "velo_to_cam": velo_to_cam[:3].tolist(), "points": cloud.points.T.tolist()}


def main() -> None:
    root, version, width, height, out = sys.argv[1:]
    size = (int(width), int(height))
    nusc = NuScenes(version=version, dataroot=root, verbose=False)
    pictures = [one for one in nusc.sample_data if one["sensor_modality"] == "camera" and one["is_key_frame"]]
    answer = {
        "boxes_2d": {one["filename"]: boxes_2d(nusc, one["token"], size) for one in pictures},
        "kitti": {sample["token"]: kitti(nusc, sample, size) for sample in nusc.sample},
    }
    Path(out).write_text(json.dumps(answer))


main()
