"""Everything random comes from here: tokens and generators derived from the seed by hashing names.

A name, not an order of calls, decides a stream: scene 2 is the same whether or not scene 1 was made in this process.
"""

from __future__ import annotations

import hashlib

import numpy as np


def make_token(*names: object) -> str:
    """32 hexadecimal digits, as nuScenes tokens are, that depend on `names` alone."""
    return _digest(names).hex()[:32]


def make_generator(*names: object) -> np.random.Generator:
    """A generator whose stream depends on `names` alone."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(names)[:16], "big")))


def _digest(names: tuple[object, ...]) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
