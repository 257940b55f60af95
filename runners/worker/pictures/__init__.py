"""What adapters share whose network looks at single pictures: detectors and classifiers in two dimensions.

They run inside model environments, load numpy, pillow and torch when they are needed, and import `worker.mmlab` for
what reads weights. Begin with `adapter.py`.
"""
