"""The catalogue: what `envs/<Model>/model.toml` says about each model, validated when it is read."""

from admlops.catalog.model import Checkpoint, Claim, Fix, Model, Source, Variant
from admlops.catalog.protocols import PROTOCOLS
from admlops.catalog.reading import describe, find_problems, list_models, load_model, read_model
from admlops.pipeline.readiness import READY, setup_status

__all__ = [
    "PROTOCOLS",
    "READY",
    "Checkpoint",
    "Claim",
    "Fix",
    "Model",
    "Source",
    "Variant",
    "describe",
    "find_problems",
    "list_models",
    "load_model",
    "read_model",
    "setup_status",
]
