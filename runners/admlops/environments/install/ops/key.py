"""What a compiled wheel depends on. Two builds with one key are interchangeable, and only those."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

KEY_VERSION = 1
"""Part of every key: raise it when the way of building changes what is built."""


@dataclass(frozen=True, kw_only=True)
class WheelKey:
    """Everything that decides what a wheel of compiled operations holds.

    `source_sha256` is the source distribution's hash, `patches` a digest of what is changed in it ("" for nothing),
    `cuda` "cpu" or nvcc's release such as "12.8", `arch` the GPU architectures as torch names them ("8.6"), `python`
    the tag of its binary interface ("cpython-311-x86_64-linux-gnu"), `compiler` the C++ compiler's own words and
    `libc` the C library that the wheel will ask for ("" where the environment brings its own).
    """

    name: str
    version: str
    source_sha256: str
    patches: str
    torch: str
    cuda: str
    arch: tuple[str, ...]
    python: str
    compiler: str
    libc: str

    def to_dict(self) -> dict[str, Any]:
        """The key as JSON holds it."""
        return {"key_version": KEY_VERSION, **asdict(self), "arch": list(self.arch)}

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of the wheel's folder: what a person wants to see, and enough of the digest to be unique."""
        cuda = self.cuda if self.cuda == "cpu" else f"cu{self.cuda.replace('.', '')}"
        python = re.sub(r"^cpython-(\d+).*", r"cp\1", self.python)
        return f"{self.name}-{self.version}-{python}-torch{self.torch}-{cuda}-{self.digest[:12]}"


def torch_arch_list(arch: tuple[str, ...]) -> tuple[str, ...]:
    """GPU architectures in the way torch's extension builder wants them: ("sm_86", "sm_120") is ("8.6", "12.0")."""
    return tuple(re.sub(r"^sm_(\d+)(\d)([a-z]?)$", r"\1.\2\3", name) for name in arch)
