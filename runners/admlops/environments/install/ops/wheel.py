"""Building one wheel of compiled operations, once, and finding it again.

A wheel lives in `wheels/<key>/` with `key.json`, which says what it depends on and what it hashes to; the folder
appears when everything in it is whole. The log of the last attempt stays beside it, `wheels/<key>.log`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from admlops.core.file_lock import hold
from admlops.core.storage import explain_os_error, file_sha256, write_atomically
from admlops.environments.install.ops.compile import BUILD_TIMEOUT_S, Builder, compile_wheel
from admlops.environments.install.ops.jobs import max_jobs
from admlops.environments.install.ops.key import WheelKey

LOCK_TIMEOUT_S = BUILD_TIMEOUT_S
KEY_FILE = "key.json"
SCRATCH = ".building"
"""Under the environments' folder, which is on a local disk: compilers write many small files."""


def ensure_wheel(key: WheelKey, builder: Builder) -> Path:
    """The wheel of `key`, built if it is not there; a second process that wants it waits.

    Raises:
        EnvError: the build failed, made no compiled module, or used something from outside the environment.
        StorageError: the wheels' folder cannot be written.
    """
    return find_wheel(builder.wheels, key) or _build_once(key, builder)


def find_wheel(wheels: Path, key: WheelKey) -> Path | None:
    """The wheel of `key` if it is there and whole, else None."""
    folder = wheels / key.folder
    try:
        described = json.loads((folder / KEY_FILE).read_text())
        wheel = folder / str(described["wheel"])
        whole = described["key"] == key.to_dict() and file_sha256(wheel) == described["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return wheel if whole else None


def _build_once(key: WheelKey, builder: Builder) -> Path:
    try:
        builder.wheels.mkdir(parents=True, exist_ok=True)
        what = f"compiling {key.name} {key.version}"
        with hold(builder.wheels / f".{key.folder}.lock", what=what, say=builder.say, timeout_s=LOCK_TIMEOUT_S):
            return find_wheel(builder.wheels, key) or _build(key, builder)
    except OSError as error:
        raise explain_os_error(error, builder.wheels / key.folder) from error


def _build(key: WheelKey, builder: Builder) -> Path:
    """Under the lock: compile in a scratch folder, check what came out, and move it into place."""
    scratch_root = builder.scratch / SCRATCH
    scratch_root.mkdir(parents=True, exist_ok=True)
    for left in [*scratch_root.glob(f"{key.folder}-*"), *builder.wheels.glob(f".{key.folder}-*")]:
        shutil.rmtree(left, ignore_errors=True)  # of a build that was killed: we hold the lock, so it is nobody's
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{key.folder}-", dir=scratch_root, ignore_cleanup_errors=True) as folder:
        jobs = max_jobs(device=builder.device, wanted=builder.jobs)
        log = builder.wheels / f"{key.folder}.log"
        wheel = compile_wheel(key, builder, scratch=Path(folder), log=log, jobs=jobs)
        facts = {"built_s": round(time.monotonic() - begun, 1), "jobs": jobs, "device": builder.device}
        kept = _keep(wheel, key, builder, facts)
    size_mb = kept.stat().st_size / 1e6
    builder.say(f"compiled {key.name} {key.version} in {_minutes(facts['built_s'])}: {size_mb:.1f} MB")
    return kept


def _keep(wheel: Path, key: WheelKey, builder: Builder, facts: Mapping[str, object]) -> Path:
    """Copy the wheel and its description beside its place, then rename: the place is there whole or not at all."""
    place = builder.wheels / key.folder
    staged = Path(tempfile.mkdtemp(prefix=f".{key.folder}-", dir=builder.wheels))
    try:
        staged.chmod(0o755)
        shutil.copyfile(wheel, staged / wheel.name)
        described = {"key": key.to_dict(), "wheel": wheel.name, "sha256": file_sha256(staged / wheel.name), **facts}
        write_atomically(staged / KEY_FILE, json.dumps(described, indent=2).encode() + b"\n")
        if place.exists():  # damaged, or it would have been found
            shutil.rmtree(place)
        staged.rename(place)
    except BaseException:  # Ctrl-C too: nothing half made may stay
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return place / wheel.name


def _minutes(seconds: object) -> str:
    total = float(str(seconds))
    return f"{total:.0f} s" if total < 100 else f"{total / 60:.0f} min"
