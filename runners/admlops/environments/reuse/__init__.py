"""Environments that need not be built again: packs of whole ones, and compiled libraries that several share.

Imports spec, integrity and prefix. Begin with `packs`, then `libraries`.
"""
