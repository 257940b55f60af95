"""Single pictures as a data kind."""

from __future__ import annotations

from pathlib import Path

from admlops.datasets.base import DataKind
from admlops.datasets.images.pictures import Images
from admlops.datasets.images.recognition import list_versions, recognise

KIND = DataKind(
    id="images",
    title="pictures",
    folders=("images", "synthetic-images"),
    synthesize=("--format", "images"),
    looks_for="pictures, or a file with labels of some: COCO, YOLO, KITTI, BDD100K, nuImages, a list",
    recognise=recognise,
    open=Images,
    default_split=lambda root, version: Images(Path(root), version).contents.default_split,
    how_to_get="",
    versions=list_versions,
    make_small="admlops.synthetic.small:make_images",
    takes_files=True,
    is_general=True,
)
