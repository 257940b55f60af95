"""What adapters share whose network looks at single pictures: detectors and classifiers in two dimensions.

Begin with `adapter.py`. The modules need numpy, pillow and torch of the model's environment, and nothing else.
"""
