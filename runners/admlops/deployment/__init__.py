"""Networks that left PyTorch: their files with manifests, and what a person means by `--engine`.

It may import core and catalog. Begin with `manifest.py`. Exporting itself is `pipeline.export`; what runs a file is a
runtime of `catalog.runtimes`.
"""
