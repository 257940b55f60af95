"""detection_3d."""
