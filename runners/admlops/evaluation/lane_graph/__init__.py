"""lane_graph."""
