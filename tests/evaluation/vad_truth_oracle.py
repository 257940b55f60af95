"""VAD's own annotation files of a nuScenes folder, as arrays; runs inside envs/official/nuscenes.

    python vad_truth_oracle.py --dataroot DIR --version V --vad CHECKOUT --mmdet3d CHECKOUT --out truth.npz

`_fill_trainval_infos` of tools/data_converter/vad_nuscenes_converter.py runs unchanged; what it imports of mmcv and
mmdet3d is replaced by the little that it uses, and there are no CAN bus messages.
"""

import argparse
import ast
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.nuscenes import NuScenes

FIELDS = ("gt_boxes", "valid_flag", "gt_agent_fut_trajs", "gt_agent_fut_masks", "gt_agent_fut_yaw", "gt_names")
EGO_FIELDS = ("gt_ego_fut_trajs", "gt_ego_fut_masks", "fut_valid_flag")


class NoMessages:
    """A CAN bus without messages."""

    def get_messages(self, scene: str, kind: str) -> Any:
        raise KeyError(scene)


def load_converter(vad: Path, mmdet3d: Path) -> Any:
    source = ast.parse((mmdet3d / "mmdet3d/datasets/nuscenes_dataset.py").read_text())
    (dataset,) = (node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "NuScenesDataset")
    (names,) = (
        n.value for n in dataset.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "NameMapping"
    )
    mapping = {"NuScenesDataset": types.SimpleNamespace(NameMapping=ast.literal_eval(names))}
    stubs: dict[str, dict[str, Any]] = {
        "mmcv": {"track_iter_progress": iter, "check_file_exist": lambda path: None},
        "mmdet3d": {},
        "mmdet3d.datasets": mapping,
        "mmdet3d.core": {},
        "mmdet3d.core.bbox": {},
        "mmdet3d.core.bbox.box_np_ops": {"points_cam2img": None},
    }
    for name, attributes in stubs.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(attributes)
    path = vad / "tools/data_converter/vad_nuscenes_converter.py"
    module = ast.parse(path.read_text())
    # Without the program at its end, which reads a command line.
    module.body = [node for node in module.body if not _belongs_to_program(node)]
    space: dict[str, Any] = {"__name__": "vad_nuscenes_converter"}
    exec(compile(module, str(path), "exec"), space)
    return space["_fill_trainval_infos"]


def _belongs_to_program(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) or any(
        isinstance(one, ast.Name) and one.id in {"parser", "args"} for one in ast.walk(node)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("dataroot", "version", "vad", "mmdet3d", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    nusc = NuScenes(options.version, options.dataroot, verbose=False)
    fill = load_converter(Path(options.vad), Path(options.mmdet3d))
    infos = fill(nusc, NoMessages(), {scene["token"] for scene in nusc.scene}, set())[0]
    arrays: dict[str, Any] = {name: np.concatenate([info[name] for info in infos]) for name in FIELDS}
    arrays |= {name: np.stack([np.asarray(info[name]) for info in infos]) for name in EGO_FIELDS}
    arrays["token"] = np.array([info["token"] for info in infos])
    arrays["count"] = np.array([len(info["gt_boxes"]) for info in infos])
    np.savez(
        options.out, **{name: array.astype("U") if array.dtype == object else array for name, array in arrays.items()}
    )


if __name__ == "__main__":
    main()
