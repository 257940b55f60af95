"""The one place that starts uv: with this product's cache and the user's own settings, from no folder of the caller's.

uv reads `uv.toml` and `pyproject.toml` of the folder it is started in and of all above it. Those belong to the project
that somebody happens to stand in, so none of them counts: uv is started elsewhere and told which settings file to read.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.paths import Layout, home_folder
from admlops.core.processes import Completed, run
from admlops.doctor import diagnose
from admlops.environments.install.caches import CACHE_VARIABLE, cache_folder

KEPT_SETTINGS = re.compile(
    r"^UV_((EXTRA_|DEFAULT_)?INDEX(_\w+)?|FIND_LINKS|CACHE_DIR|NO_CACHE|CONFIG_FILE|NATIVE_TLS|SYSTEM_CERTS|OFFLINE"
    r"|INSECURE_HOST|KEYRING_PROVIDER|HTTP_\w+|REQUEST_TIMEOUT|CONCURRENT_\w+|PYTHON_INSTALL_DIR)$"
)
"""The variables of the caller that reach uv: where packages come from, how they travel and where they are kept."""
MISSING_MODULE = re.compile(r"No module named '([\w.]+)'|invalid command '(bdist_wheel)'")
FAILED_PACKAGE = re.compile(r"Failed to build `?([\w.-]+==[^\s`]+)`?")


def run_uv(
    arguments: Sequence[str | Path],
    *,
    layout: Layout,
    timeout_s: float,
    cwd: Path | None = None,
    watch: Callable[[int], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Completed:
    """Run uv; `cwd` must be a folder of this product's own, and is an empty one if it is not given.

    `variables` are uv's own, and override the caller's.

    Raises:
        EnvError: there is no uv, or it outlived `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="admlops-uv-") as empty:
        settings = {**uv_settings(layout), **(variables or {})}
        command = [find_uv(), *_settings_file(settings), *arguments]
        return run(command, timeout_s=timeout_s, variables=settings, cwd=cwd or Path(empty), watch=watch)


def find_uv() -> Path:
    """Find uv beside the host's Python (bootstrap puts it there), else on PATH. Raises EnvError if there is none."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("uv")
    if found is None:
        raise EnvError("uv was not found beside the host's Python nor on PATH", hint="./install/bootstrap.sh")
    return Path(found)


def uv_settings(layout: Layout) -> Mapping[str, str]:
    """Give the variables for uv: the caller's own about indexes and transfers, and a cache that can be written."""
    settings = {name: value for name, value in os.environ.items() if KEPT_SETTINGS.match(name)}
    if not settings.get("UV_CACHE_DIR") and (CACHE_VARIABLE in os.environ or not _is_writable(_default_uv_cache())):
        settings["UV_CACHE_DIR"] = str(cache_folder(layout) / "uv")
    return settings


def _settings_file(settings: Mapping[str, str]) -> list[str]:
    """Name the user's own settings file, or none: so uv looks for no other."""
    if settings.get("UV_CONFIG_FILE"):
        return []
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home_folder() / ".config") / "uv" / "uv.toml"
    for file in (own, Path("/etc/uv/uv.toml")):
        if os.access(file, os.R_OK):
            return ["--config-file", str(file)]
    return ["--no-config"]


def _default_uv_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache") / "uv"


def _is_writable(folder: Path) -> bool:
    """Tell whether uv could keep its cache there, by trying: on some file systems permissions alone do not tell."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def checked(completed: Completed, name: str, locks: Sequence[Path] = (), *, model: str = "MODEL") -> Completed:
    """Give back `completed` if uv succeeded.

    Raises:
        EnvError: it failed; the message holds uv's words and, where that is known, the cause.
    """
    if completed.returncode == 0:
        return completed
    said = (completed.stderr or completed.stdout).strip()
    where = f" (the lock is {' and '.join(map(str, locks))})" if locks else ""
    raise _explain_build(said, name, where, model)


def _explain_build(said: str, name: str, where: str, model: str) -> EnvError:
    """Explain a source distribution that needs something that its list does not name."""
    missing, package = MISSING_MODULE.search(said), FAILED_PACKAGE.search(said)
    if missing is not None:
        module = "wheel" if missing[2] else missing[1].split(".")[0]
        what = package[1] if package else "a source distribution"
        return EnvError(
            f"{name}: building {what} needs {module}, which the lock does not have{where}\n{said}",
            hint=f"write {module}==VERSION in requirements.in, then: admlops env lock {model}",
        )
    known = diagnose(said, phases=["install"])
    if known is not None:
        return EnvError(f"{name}: {known.cause}{where}\n{said}", hint=known.hint)
    return EnvError(
        f"{name} could not be built{where}:\n{said}",
        hint="the cause is in uv's own words above; admlops doctor explains what it knows of them",
    )
