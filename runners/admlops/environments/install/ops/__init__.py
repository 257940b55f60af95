"""Compiled operations: built once per source, torch, CUDA, architectures, Python and compiler, then only installed.

`build_ops` gives the wheels of the packages that a variant names in `compiled`; `smoke_test` proves inside a finished
environment that its modules import and its operations compute what they should.

It may import spec, integrity, reuse and doctor. Begin with `build.py`, then `key.py`.
"""

from __future__ import annotations

from admlops.environments.install.ops.build import build_ops
from admlops.environments.install.ops.smoke import smoke_test

__all__ = ["build_ops", "smoke_test"]
