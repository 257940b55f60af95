"""Checking a worker's outputs against what the model says of itself, when the record is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from admlops.results.record import Outputs


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The class names (or element types) that outputs may use, and how to find those that they do use, in order."""

    known: frozenset[str]
    names_in: Callable[[Any], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class ExpectedOutputs:
    """The contents of a model's outputs.

    `required` are the keys of a record that each of its samples must have, `allowed` those that it may have. `classes`
    maps a key to the names that the model may use there; a key that is absent takes any.
    """

    required: frozenset[str]
    allowed: frozenset[str]
    classes: Mapping[str, Vocabulary] = field(default_factory=dict)

    def find_fault(self, outputs: Outputs) -> str | None:
        """Return what is wrong with a sample's outputs, in words, or None."""
        present = {name for name in outputs.__struct_fields__ if getattr(outputs, name) is not UNSET}
        missing = sorted(self.required - present)
        if missing:
            return f"the outputs lack {', '.join(missing)}, which the model's tasks promise; an empty list would do"
        extra = sorted(present - self.allowed)
        if extra:
            return f"the outputs hold {', '.join(extra)}, which is no task of the model's in its model.toml"
        return next((fault for key in self.classes if (fault := self._find_name(key, outputs)) is not None), None)

    def _find_name(self, key: str, outputs: Outputs) -> str | None:
        value, vocabulary = getattr(outputs, key, UNSET), self.classes[key]
        for number, name in enumerate(() if value is UNSET else vocabulary.names_in(value)):
            if name not in vocabulary.known:
                return (
                    f"outputs.{key}[{number}] has the class {name!r}, which is none of the model's in its model.toml: "
                    f"{', '.join(sorted(vocabulary.known))}"
                )
        return None
