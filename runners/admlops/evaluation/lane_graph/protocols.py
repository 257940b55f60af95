"""OpenLane-V2's two protocols of lane graphs: devkit 1.1 changed the TOP scores of 1.0 (2.1 computes as 1.1)."""

from __future__ import annotations

from collections.abc import Mapping

from admlops.results.derived_structs import Selection, Take

OPENLANE_1_0 = "openlanev2.1.0"
OPENLANE_1_1 = "openlanev2.1.1"
PROTOCOLS = (OPENLANE_1_0, OPENLANE_1_1)
METRICS = ("OLS", "DET_l", "DET_t", "TOP_ll", "TOP_lt")

LANE_KEYS: Mapping[str, Selection] = {
    "lane_graph": {
        "lanes": {"points": Take.RAW, "confidence": Take.WHOLE},
        "traffic_elements": Take.WHOLE,
        **dict.fromkeys(("lane_to_lane", "lane_to_traffic"), Take.RAW),
    }
}
"""What is decoded of a lane graph: points become arrays at once, relations row by row, where a score looks."""
