"""The catalogue: what `envs/<Model>/model.toml` says about each model, checked against the registries when read.

It may import core. Begin with `model.py` (the shape of the file), then `registries.py` (what can be added).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_PROTOCOLS = ("PROTOCOLS",)
_READING = ("describe", "find_known", "find_problems", "list_models", "load_model", "read_model")


def __getattr__(name: str) -> object:
    """Load a name's module on its first use: pydantic would take half the time of commands that read no model."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "reading" if name in _READING else "protocols" if name in _PROTOCOLS else "model"
    return getattr(import_module(f"{__name__}.{module}"), name)
