"""GroundPlane: a classical baseline without weights that looks only at the camera images and their calibration.

The road is taken to be the plane z = 0 of the ego frame. `geometry` and `birdseye` map pixels to it, `ground` learns
what the ground looks like, `objects` finds what stands on it, `markings`, `crossings` and `roadside` read the vector
map from the bird's-eye view, `road` tells the objects where it runs, `motion` and `tracking` follow them over a scene.
"""
