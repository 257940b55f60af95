"""nuscenes."""
