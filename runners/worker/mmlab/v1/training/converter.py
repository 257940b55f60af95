"""Info files by the authors' own converter, and whether their boxes are in the convention that the model learns.

A converter writes beside the data, and reads paths below one root. So that the data stay as they are, its root is a
folder of links to them, and the info files lie there.
"""

import json
import math
import os
import pickle
import runpy
import sys
from types import MappingProxyType
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ....adapter import DataError
from ...common.geometry import rotation_matrix

MMDET3D_1 = "mmdet3d_1.0"
TOLERANCE = 1e-3
FUNCTION = "create_nuscenes_infos"


class Converter(NamedTuple):
    """The authors' converter: a file of their source, its function's arguments, and the info file of training.

    In arguments `{root}` stands for the folder of links, which is also where the CAN bus messages are.
    """

    program: str
    arguments: Mapping[str, str]
    train: str


def nuscenes_converter(
    train: str, *, prefix: str, program: str = "tools/data_converter/nuscenes_converter.py", can_bus: bool = True
) -> Converter:
    """The converter that most sources have in common, from mmdet3d's own."""
    arguments = {"root_path": "{root}", "info_prefix": prefix}
    if can_bus:
        arguments.update(out_path="{root}", can_bus_root_path="{root}")
    return Converter(program, MappingProxyType(arguments), train)


def convert(converter: Converter, root: str, version: str) -> str:
    """Run the converter over one version of the tables; returns the path of training's info file.

    The model's source is the working folder, and its libraries are imported.
    """
    path = os.path.join(root, converter.train)
    before, sys.argv = sys.argv, [converter.program, "nuscenes", "--out-dir", root]  # some parse them when imported
    sys.path[:0] = ["tools", os.path.dirname(converter.program)]
    try:
        names = runpy.run_path(converter.program, run_name="converter")
        arguments = {key: value.format(root=root) for key, value in converter.arguments.items()}
        names[FUNCTION](**arguments, version=version, max_sweeps=10)
    finally:
        sys.argv = before
    if not os.path.isfile(path):
        raise DataError("{} wrote no {}".format(converter.program, path))
    return path


def check_convention(path: str, root: str, version: str, convention: str) -> str:
    """Compare one box of the info file with the tables: the order of width and length, and the yaw.

    An info file of another generation of mmdet3d loads without a word, and the network learns turned boxes.

    Raises:
        DataError: it has none, or they are in the other convention.
    """
    with open(path, "rb") as file:
        infos = pickle.load(file)["infos"]  # noqa: S301  the converter's own file
    info = _info_with_boxes(infos)
    if info is None:
        raise DataError("{} holds no annotated box: is the split empty?".format(path))
    tables = {name: _read_table(root, version, name) for name in ("sample", "sample_annotation")}
    token, index = info["token"], _elongated(info["gt_boxes"])
    own = [one for one in tables["sample_annotation"].values() if one["sample_token"] == token]
    box = [float(value) for value in info["gt_boxes"][index]]
    for one in own:
        expected = _expected(info, one, convention)
        if math.dist(expected[:3], box[:3]) < TOLERANCE:
            _compare(path, box, expected, convention)
            return "a box of {}: w, l, h {} in the tables, {} in the info file".format(token, one["size"], box[3:6])
    raise DataError("{}: a box of sample {} is at no place that the tables know".format(path, token))


def _info_with_boxes(infos: Any) -> Optional[Dict[str, Any]]:
    return next((info for info in infos if len(info.get("gt_boxes", ())) > 0), None)


def _elongated(boxes: Any) -> int:
    """The box whose length and width differ most: of a square one nothing tells the order."""
    return max(range(len(boxes)), key=lambda index: abs(float(boxes[index][3]) - float(boxes[index][4])))


def _compare(path: str, box: Any, expected: Tuple[float, ...], convention: str) -> None:
    turned = abs(math.remainder(box[6] - expected[6], 2 * math.pi))
    if max(abs(a - b) for a, b in zip(box[3:6], expected[3:6])) > TOLERANCE or turned > TOLERANCE:
        raise DataError(
            "{} is not in the convention {}: a box is {}, and by the tables it should be {}; it was made by another "
            "generation of mmdet3d".format(
                path, convention, [round(v, 3) for v in box], [round(v, 3) for v in expected]
            )
        )


def _expected(info: Mapping[str, Any], annotation: Mapping[str, Any], convention: str) -> Tuple[float, ...]:
    """A table's box as an info file should have it: centre, size and yaw in the LiDAR's frame."""
    center, turn = list(annotation["translation"]), rotation_matrix(annotation["rotation"])
    for name in ("ego2global", "lidar2ego"):
        inverse = rotation_matrix(info[name + "_rotation"]).T
        center = inverse @ [a - b for a, b in zip(center, info[name + "_translation"])]
        turn = inverse @ turn
    yaw = math.atan2(turn[1, 0], turn[0, 0])
    width, length, height = annotation["size"]
    if convention == MMDET3D_1:
        return (*map(float, center), length, width, height, yaw)
    return (*map(float, center), width, length, height, -yaw - math.pi / 2)


def _read_table(root: str, version: str, name: str) -> Dict[str, Dict[str, Any]]:
    with open(os.path.join(root, version, name + ".json"), encoding="utf-8") as file:
        return {row["token"]: row for row in json.load(file)}
