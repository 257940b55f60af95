"""The faults by name and level, and the seeds that they are drawn from.

What is drawn depends on the seed, the sample, the camera, the fault and its level, and on nothing else: not on which
worker has the sample, nor on what ran before. `VERSION` is part of protocols and rises when a fault comes to look
otherwise.
"""

import zlib
from typing import Any, Dict, List, NamedTuple

VERSION = 1
LEVELS = (1, 2, 3)
PICTURES = (
    "camera-crash",
    "frame-lost",
    "color-quant",
    "motion-blur",
    "brightness",
    "low-light",
    "fog",
    "snow",
)
"""The eight of RoboBEV, by whose levels mCE and mRR are defined, in the order of its tables."""
RIG = ("stale-camera", "stuck-camera", "miscalibrated")
"""Faults of what a sample says: pictures of another time, and extrinsics that are wrong."""
LIDAR = ("lidar-points", "lidar-beams")
NAMES = (*PICTURES, *RIG, *LIDAR)


class FaultError(Exception):
    """A fault that there is none of."""


class Fault(NamedTuple):
    """A fault at a level, 1 (easy) to 3 (hard), drawn from a seed."""

    name: str
    level: int
    seed: int = 0

    @property
    def label(self) -> str:
        """What a person types, such as `fog:2`."""
        return "{}:{}".format(self.name, self.level)

    @property
    def suffix(self) -> str:
        """What protocols have behind their name, such as `.corrupted-fog-2-v1`."""
        seed = "-seed{}".format(self.seed) if self.seed else ""
        return ".corrupted-{}-{}{}-v{}".format(self.name, self.level, seed, VERSION)

    def to_json(self) -> Dict[str, Any]:
        """The form in a run's settings and in the load frame."""
        return {"name": self.name, "level": self.level, "seed": self.seed, "version": VERSION}

    def seeds(self, *words: str) -> List[int]:
        """The numbers that a generator is seeded with, of the fault and of the words that say what is drawn."""
        return [self.seed, *[_number(word) for word in words], _number(self.name), self.level]


def parse_fault(text: str, seed: int = 0) -> Fault:
    """Read `NAME:LEVEL`. Raises FaultError."""
    name, _, level = text.partition(":")
    if name not in NAMES:
        raise FaultError("{!r} is no fault; there are {}".format(name, ", ".join(NAMES)))
    if level not in [str(one) for one in LEVELS]:
        raise FaultError("{!r} has no level of 1, 2 or 3, as in {}:2".format(text, name))
    return Fault(name, int(level), seed)


def read_fault(value: Dict[str, Any]) -> Fault:
    """Read what `to_json` wrote. Raises FaultError: it is another version's."""
    if value.get("version") != VERSION:
        raise FaultError("the fault {} is of version {}, and this is {}".format(value, value.get("version"), VERSION))
    return Fault(str(value["name"]), int(value["level"]), int(value["seed"]))


def _number(word: str) -> int:
    return zlib.crc32(word.encode())
