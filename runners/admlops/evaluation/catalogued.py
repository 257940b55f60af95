"""What the catalogue says of the model of a run that is evaluated."""

from __future__ import annotations

from admlops.catalog import Model, find_known
from admlops.core.errors import CatalogError
from admlops.core.paths import Layout
from admlops.results.run_folder import RunFolder


def find_model(run: RunFolder, layout: Layout) -> Model | None:
    """Return the run's model in the catalogue; None where it has no entry, or a broken one."""
    try:
        return find_known(layout, run.header.model)
    except CatalogError:
        return None  # its runs can be evaluated all the same


def catalogued_protocols(model: Model | None) -> frozenset[str]:
    """Return the protocols that the model's catalogue entry names, and those that its published numbers follow."""
    return frozenset() if model is None else frozenset(model.protocols).union(one.protocol for one in model.published)


def operating_thresholds(model: Model | None) -> dict[str, float]:
    """Return by task the model's operating threshold: the least confidence at which its outputs count."""
    stated = None if model is None else model.detection_2d
    return {} if stated is None else {"detection_2d": stated.operating_threshold}
