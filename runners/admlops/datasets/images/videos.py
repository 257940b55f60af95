"""Frames of a video, taken by ffmpeg: two a second, once, into the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from admlops.core import processes
from admlops.core.errors import DataError
from admlops.core.storage import explain_os_error
from admlops.datasets.images.cache import cache_folder
from admlops.datasets.images.contents import VIDEO_SUFFIXES, Picture

FRAMES_PER_S = 2
"""As nuScenes' key frames: neighbouring frames of a video show nearly the same."""
TIMEOUT_S = 3600.0


def is_video(name: str) -> bool:
    """Tell by a file's name whether it is a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def list_frames(video: Path, name: str) -> list[Picture]:
    """Return the frames of a video as pictures, in time order; their times count from its beginning.

    Raises:
        DataError: ffmpeg is not installed, or the file is not a video that it reads.
        StorageError: the cache cannot be written.
    """
    size = video.stat().st_size
    folder = cache_folder() / "videos" / _key(video)
    if not folder.is_dir():
        _extract(video, folder)
    return [
        Picture(
            name=f"{name}/{path.name}",
            path=path,
            size_bytes=size,
            timestamp_us=round(index * 1e6 / FRAMES_PER_S),
        )
        for index, path in enumerate(sorted(folder.glob("*.png")))
    ]


def _key(video: Path) -> str:
    facts = video.stat()
    text = f"{video.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{FRAMES_PER_S}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _extract(video: Path, folder: Path) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            f"{video} is a video, and ffmpeg, which takes frames out of it, is not installed",
            hint="apt-get install -y ffmpeg   # or take the frames out elsewhere and pass their folder",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise explain_os_error(error, folder) from error
    try:
        command = [program, "-nostdin", "-v", "error", "-i", str(video)]
        command += ["-vf", f"fps={FRAMES_PER_S}", str(temporary / "%06d.png")]
        done = processes.run(command, timeout_s=TIMEOUT_S)
        if done.returncode != 0 or not any(temporary.iterdir()):
            said = done.stderr.strip().splitlines()
            raise DataError(
                f"ffmpeg takes no frames out of {video}: {said[-1] if said else 'it has none'}",
                hint=f"ffmpeg -i {video}   # says what it finds",
            )
        temporary.replace(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was quicker
            raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
