"""Synthetic scenes: a generated world, driven through and recorded in nuScenes' or OpenLane-V2's layout.

It may import core and datasets. Begin with `writer.py`, then `recording.py` and `world.py`.
"""

from __future__ import annotations

from admlops.synthetic.options import SCENE_NAMES, SynthesisOptions
from admlops.synthetic.writer import is_synthesized, read_marker, synthesize

__all__ = ["SCENE_NAMES", "SynthesisOptions", "is_synthesized", "read_marker", "synthesize"]
