"""The catalogue: what `envs/<Model>/model.toml` says about each model, held against the registries when it is read.

It may import core. Begin with `model.py` (the shape of the file), then `registries.py` (what can be added).
"""

from admlops.catalog.model import Checkpoint, Claim, Detection2D, Fix, Model, PackedGraph, Source, Traits, Variant
from admlops.catalog.protocols import PROTOCOLS
from admlops.catalog.reading import describe, find_known, find_problems, list_models, load_model, read_model

__all__ = [
    "PROTOCOLS",
    "Checkpoint",
    "Claim",
    "Detection2D",
    "Fix",
    "Model",
    "PackedGraph",
    "Source",
    "Traits",
    "Variant",
    "describe",
    "find_known",
    "find_problems",
    "list_models",
    "load_model",
    "read_model",
]
