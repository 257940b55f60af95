"""detection_2d."""
