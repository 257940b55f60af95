"""Scenes, ground truth and vector maps of nuScenes, and the synthetic scenes that stand in for it."""
