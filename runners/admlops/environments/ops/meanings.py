"""What a failed build says, what it means, and the next command."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """A build failure that is known: `text` says what happened, `hint` is the next command to type."""

    text: str
    hint: str


MACHINE_HINT = "apt-get install {package}   # the machine's own compiler is used; the conda backend brings its own"
LOCK_AGAIN = "admlops env lock MODEL --check   # the lock's compiler or toolkit does not fit; lock it again"

_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "df -h .   # free some space, or export ADMLOPS_ENVIRONMENTS=/a/larger/disk",
    ),
    (
        r"\bKilled\b|cannot allocate memory|virtual memory exhausted|std::bad_alloc|exit status 137",
        "a compiler was killed for want of memory",
        "admlops env install MODEL --jobs 1   # one compiler at a time",
    ),
    (
        r"unsupported GNU version! gcc versions later than (\d+)",
        "the compiler is too new for this nvcc, which knows gcc up to {0}",
        LOCK_AGAIN,
    ),
    (
        r"nvcc fatal\s*: Unsupported gpu architecture '(\S+)'",
        "nvcc does not know {0}: the CUDA toolkit is older or newer than the variant's GPU architectures",
        LOCK_AGAIN,
    ),
    (
        r"detected CUDA version \((\S+)\) mismatches the version that was used to compile",
        "nvcc is of CUDA {0}, torch is of another",
        LOCK_AGAIN,
    ),
    (
        r"Python\.h: No such file",
        "the interpreter's headers are missing",
        MACHINE_HINT.format(package="python3-dev"),
    ),
    (
        r"fatal error: (cu\w+\.h|cuda_runtime\w*\.h|thrust/\S+): No such file",
        "the CUDA toolkit has no {0}: it is not the full one, or its library headers are missing",
        "admlops env install MODEL --backend conda   # brings a whole toolkit; or: apt-get install cuda-toolkit",
    ),
    (
        r"fatal error: (THC/\S+|TH/\S+): No such file",
        "the sources want {0}, which this torch no longer has",
        "git checkout -- envs   # the lock pairs an old package with a new torch",
    ),
    (
        r"C\+\+(\d+) or later compatible compiler is required|unrecognized command.line option .-std=c\+\+(\d+)",
        "the compiler or its options are too old for this torch",
        LOCK_AGAIN,
    ),
    (
        r"cannot execute .(\w+).: (?:execvp|posix_spawnp?): No such file",
        "the compiler's own {0} is not in the environment, and the machine's is not used",
        LOCK_AGAIN,
    ),
    (
        r"No module named '?pkg_resources",
        "setuptools is too new: it has no pkg_resources, which the package's setup.py imports",
        "git checkout -- envs   # the lock must pin setuptools below 81",
    ),
    (
        r"command '\S*(?:gcc|cc|g\+\+|c\+\+)' failed: No such file",
        "there is no C++ compiler",
        MACHINE_HINT.format(package="g++"),
    ),
    (
        r"fatal error: (\S+\.(?:h|hpp|cuh)): No such file",
        "the header {0} is missing",
        "the log names the file that wants it; the header must come with the environment's own packages",
    ),
    (
        r"name resolution|failed to establish a new connection|no matching distribution|connection (?:refused|reset)",
        "the source distribution cannot be had from the package index",
        "check the network (or your proxy and index settings), then run the command again",
    ),
    (
        r"hashes? (?:do|does) not match|THESE PACKAGES DO NOT MATCH THE HASHES",
        "the source distribution's hash is not the lock's; nothing of it was built",
        "git checkout -- envs   # if the lock was edited; if it was not, do not trust the index you use",
    ),
)


def explain(said: str) -> Meaning | None:
    """The meaning of a failed build's output; None if it is not a known one. The most basic cause wins."""
    for pattern, text, hint in _MEANINGS:
        found = re.search(pattern, said, re.IGNORECASE)
        if found:
            groups = [group for group in found.groups() if group] or [""]
            return Meaning(text=text.format(*groups), hint=hint)
    return None
