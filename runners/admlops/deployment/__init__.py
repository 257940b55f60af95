"""Networks that left PyTorch: their files with manifests, and what a person means by `--engine`.

Begin with `manifest.py`. Exporting itself is `pipeline.export`; what runs a file is a runtime of `catalog.runtimes`.
"""
