"""How a model looks in figures: the same colour, marker and line in every one, whoever stands beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from admlops.reports.figures import DASHES, Dashes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#555555")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; wine red for its yellow, too pale for lines."""

HATCHES = ("", "////", "....", "xxxx", "----")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SALT = b"133:"
"""Chosen so that the first six models of the catalogue have colours of their own. Changing it changes every figure."""


@dataclass(frozen=True, kw_only=True)
class ModelStyle:
    """matplotlib's colour, marker, line style and hatch of one run."""

    colour: str
    marker: str
    dashes: Dashes
    hatch: str = ""


def style_of(model: str) -> ModelStyle:
    """The looks of a model, from its name alone."""
    digest = hashlib.sha256(SALT + model.encode()).digest()
    return ModelStyle(
        colour=COLOURS[digest[0] % len(COLOURS)], marker=MARKERS[digest[1] % len(MARKERS)], dashes=DASHES[0]
    )


def styles_of(models: Sequence[str]) -> list[ModelStyle]:
    """The looks of runs side by side: a second run of a model has its colour, and another line and hatch."""
    seen: Counter[str] = Counter()
    styles = []
    for model in models:
        own = style_of(model)
        number = seen[model]
        seen[model] += 1
        styles.append(
            ModelStyle(
                colour=own.colour,
                marker=MARKERS[(MARKERS.index(own.marker) + number) % len(MARKERS)],
                dashes=DASHES[number % len(DASHES)],
                hatch=HATCHES[number % len(HATCHES)],
            )
        )
    return styles
