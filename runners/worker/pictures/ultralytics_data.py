"""Pictures and boxes in the layout that ultralytics' trainers read.

Nothing of ultralytics is imported here. It finds a picture's boxes by its path, with `labels` in place of `images`.
"""

from pathlib import Path
from typing import Any, List, Mapping

SPLITS = ("samples", "held_out")


def write_data(folder: Path, request: Mapping[str, Any]) -> Path:
    """Write links to the pictures of `request`, a text of boxes beside each, and the list of classes; returns its path.

    The request is of `training.trainers.pictures` of the host.
    """
    for split in SPLITS:
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(request[split]):
            name = f"{number:06d}"
            link = folder / "images" / split / (name + Path(one["path"]).suffix)
            if not link.is_symlink():
                link.symlink_to(one["path"])
            lines = [spell_box(box, one["width"], one["height"]) for box in one["boxes"]]
            (folder / "labels" / split / (name + ".txt")).write_text("".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(request["classes"]))
    path = folder / "data.yaml"
    path.write_text(f"path: {folder}\ntrain: images/samples\nval: images/held_out\nnames:\n{names}")
    return path


def spell_box(box: List[float], width: float, height: float) -> str:
    """A line `class x y w h`: centre and size as shares of the picture, cut at its edges."""
    x1, y1, x2, y2 = (max(0.0, one) for one in box[:4])
    x2, y2 = min(x2, width), min(y2, height)
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return "{} {}\n".format(int(box[4]), " ".join(f"{value:.6f}" for value in values))
