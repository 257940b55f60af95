"""The configuration: what nanodet-g.yml of the authors says of the network, and how its boxes are read."""

import json
from pathlib import Path
from typing import NamedTuple, Tuple


class Config(NamedTuple):
    """A configuration, as its JSON file states it.

    `scores` and `distances` name the graph's outputs, a pair for each of `strides` [pixels]. A side's distance is a
    distribution over 0 … `reg_max` strides. Boxes below `min_confidence` are dropped, then all but the best
    `candidates_per_level` (upstream's `nms_pre`), then those that overlap a better one of their class by more than
    `nms_iou`, then all but the best `max_boxes` of a picture.
    """

    input_size: int
    mean_bgr: Tuple[float, float, float]
    std_bgr: Tuple[float, float, float]
    strides: Tuple[int, ...]
    reg_max: int
    scores: Tuple[str, ...]
    distances: Tuple[str, ...]
    min_confidence: float
    candidates_per_level: int
    nms_iou: float
    max_boxes: int


def read_config(path: Path) -> Config:
    """Read a configuration.

    Raises:
        ValueError: it is no JSON object with exactly these keys; the message names the file.
    """
    try:
        stated = json.loads(path.read_bytes())
        config = Config(**{key: tuple(value) if isinstance(value, list) else value for key, value in stated.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no configuration of NanoDet: {error}") from error
    if not len(config.strides) == len(config.scores) == len(config.distances):
        raise ValueError(f"{path}: strides, scores and distances are not equally many")
    return config
