"""The catalogue: what `envs/<Model>/model.toml` says about each model, validated when it is read."""

from admlops.catalog.model import Checkpoint, Claim, Fix, Model, Source, Traits, Variant
from admlops.catalog.protocols import PROTOCOLS
from admlops.catalog.reading import describe, find_problems, list_models, load_model, read_model

__all__ = [
    "PROTOCOLS",
    "Checkpoint",
    "Claim",
    "Fix",
    "Model",
    "Source",
    "Traits",
    "Variant",
    "describe",
    "find_problems",
    "list_models",
    "load_model",
    "read_model",
]
