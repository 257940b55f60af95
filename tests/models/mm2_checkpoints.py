"""Run by an mm2 environment: checkpoints of other configurations, models and layouts, and what loading each says.

    python mm2_checkpoints.py {"folder", "pillar", "voxel", "fusion": configurations below the source}

Prints, as JSON, the message of each, empty where it loads; and whether weights of both layouts gave the same values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inside_model import load_adapter, load_drawn, read_request

from worker.adapter import Settings
from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.weights import WeightsError


def main() -> None:
    wanted = read_request()
    folder = Path(wanted["folder"])
    source = Path(load_adapter("CenterPoint").source_root())
    pillar, voxel, fusion = (str(source / wanted[name]) for name in ("pillar", "voxel", "fusion"))
    for config, name in ((pillar, "pillar"), (voxel, "voxel"), (fusion, "fusion")):
        load_drawn(
            load_adapter("CenterPoint"), {"config": config, "draw": 0, "checkpoint": str(folder / f"{name}.pth")}
        )
    torch = load_library("torch")
    state = torch.load(str(folder / "voxel.pth"))["state_dict"]
    turned = {
        key: value.permute(4, 0, 1, 2, 3).contiguous() if value.dim() == 5 else value for key, value in state.items()
    }
    torch.save({"state_dict": turned}, str(folder / "spconv.pth"))
    old = {"img_backbone." + key: value for key, value in state.items()}
    torch.save({"state_dict": old, "meta": {"mmdet3d_version": "0.17.2"}}, str(folder / "first.pth"))
    own, values = say(voxel, folder / "voxel.pth")
    other, others = say(voxel, folder / "spconv.pth")
    same = all(bool(torch.equal(value, others[key])) for key, value in values.items())
    print(
        json.dumps(
            {
                "own": own,
                "own, as spconv keeps it": other,
                "same values": same and len(values) > 0,
                "voxel in pillar": say(pillar, folder / "voxel.pth")[0],
                "pillar in voxel": say(voxel, folder / "pillar.pth")[0],
                "fusion in voxel": say(voxel, folder / "fusion.pth")[0],
                "first generation": say(voxel, folder / "first.pth")[0],
            }
        )
    )


def say(config: str, path: Path) -> tuple[str, Any]:
    """What loading the checkpoint raises, and the network's values."""
    adapter = load_adapter("CenterPoint")
    try:
        adapter.load(Settings(config=config, checkpoint=str(path)))
    except WeightsError as error:
        return str(error), {}
    return "", dict(adapter._model.state_dict())


if __name__ == "__main__":
    main()
