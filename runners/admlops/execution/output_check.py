"""Holding a worker's outputs against what the model says of itself, when the record is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from admlops.results.record import Outputs


@dataclass(frozen=True, kw_only=True)
class ExpectedOutputs:
    """The contents of a model's outputs.

    `required` are the keys of a record that each of its samples must have, `allowed` those that it may have. `classes`
    maps a key to the class names (or element types) that the model may use there; a key that is absent takes any.
    `names_in` gives the names that the outputs under a key use, in their order.
    """

    required: frozenset[str]
    allowed: frozenset[str]
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    names_in: Mapping[str, Callable[[Any], Iterable[str]]] = field(default_factory=dict)

    def find_fault(self, outputs: Outputs) -> str | None:
        """Return what is wrong with a sample's outputs, in words, or None."""
        present = {name for name in outputs.__struct_fields__ if getattr(outputs, name) is not UNSET}
        missing = sorted(self.required - present)
        if missing:
            return f"the outputs lack {', '.join(missing)}, which the model's tasks promise; an empty list would do"
        extra = sorted(present - self.allowed)
        if extra:
            return f"the outputs hold {', '.join(extra)}, which is no task of the model's in its model.toml"
        for key, known in self.classes.items():
            value = getattr(outputs, key, UNSET)
            names = () if value is UNSET else self.names_in[key](value)
            for number, name in enumerate(names):
                if name not in known:
                    word = "type" if key == "map_elements" else "class"
                    return (
                        f"outputs.{key}[{number}] has the {word} {name!r}, which is none of the model's in its "
                        f"model.toml: {', '.join(sorted(known))}"
                    )
        return None
