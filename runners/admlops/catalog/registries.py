"""What can be added to admlops without touching it: each kind of thing has a registry, validated against by id.

The tables name where the built-in ones live, often in upper rooms; nothing is imported before it is asked for.
"""

from __future__ import annotations

from typing import Any

from admlops.catalog.tasks import Task
from admlops.core.registry import Registry

TASKS: Registry[Task] = Registry(
    "task",
    {
        "detection_3d": "admlops.catalog.tasks:DETECTION_3D",
        "vector_map": "admlops.catalog.tasks:VECTOR_MAP",
        "lane_graph": "admlops.catalog.tasks:LANE_GRAPH",
        "planning": "admlops.catalog.tasks:PLANNING",
        "motion": "admlops.catalog.tasks:MOTION",
        "detection_2d": "admlops.catalog.tasks:DETECTION_2D",
    },
)

DATA_KINDS: Registry[Any] = Registry(
    "data kind",
    {
        "nuscenes": "admlops.datasets.nuscenes.kind:KIND",
        "openlanev2": "admlops.datasets.openlane.kind:KIND",
    },
)
"""Of `datasets.base.DataKind`, which types them."""
