"""Exported networks: their files with manifests, and what a person means by `--engine`.

It may import core and catalog. Begin with `manifest.py`. `pipeline.export` exports; a runtime of `catalog.runtimes`
runs a file.
"""
