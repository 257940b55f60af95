"""Writing a whole data set: scenes in parallel, then tables and maps, then one rename into place."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from admlops import __version__
from admlops.core.errors import UsageError
from admlops.core.processes import die_with_parent
from admlops.core.storage import explain_os_error
from admlops.core.types import Watch
from admlops.synthetic.map_expansion import make_map_expansion
from admlops.synthetic.options import (
    LOCATIONS,
    RECIPE,
    VERSION,
    SceneSpec,
    SynthesisOptions,
    list_scenes,
    marker_path,
)
from admlops.synthetic.recording import SceneRecording, record_scene
from admlops.synthetic.rig import CAMERA_CHANNELS, LIDAR_CHANNEL
from admlops.synthetic.tables import fixed_rows, map_row
from admlops.synthetic.world import World, generate_world

MASK_PIXELS_PER_METRE = 10  # the resolution that the map mask API assumes

Recorded = TypeVar("Recorded")
Record = Callable[[SceneSpec, Callable[[], None]], Recorded]
"""Records a scene, and calls its second argument after each key frame."""


def synthesize(
    target: Path,
    options: SynthesisOptions,
    *,
    on_progress: Watch | None = None,
    force: bool = False,
    workers: int | None = None,
    dry_run: bool = False,
) -> bool:
    """Write a synthetic data set in the nuScenes layout to `target`.

    The same options give the same bytes, whatever `workers` (processes, at most one a scene) is. `on_progress` gets the
    key frames done and their total. Returns False, and does nothing, if `target` already holds exactly this data set.
    With `dry_run`, writes nothing and returns the same answer.

    Raises:
        UsageError: an option is out of range, or `target` holds another synthetic data set and `force` is not
            given, or something that is not one.
        StorageError: `target` cannot be written; nothing of the data set is left behind.
    """
    options.check()
    return place_data_set(
        target,
        _marker(options),
        lambda folder: _write(folder, options, on_progress, workers),
        force=force,
        dry_run=dry_run,
    )


def place_data_set(
    target: Path, marker: dict[str, Any], write: Callable[[Path], None], *, force: bool, dry_run: bool = False
) -> bool:
    """Let `write` fill an empty folder, mark it, and rename it to `target`, whole or not at all.

    Returns False, and does nothing, if `target` already has this marker and `force` is not given. With `dry_run`,
    writes nothing and returns the same answer.

    Raises:
        UsageError: `target` holds another synthetic data set and `force` is not given, or something that is not one.
        StorageError: `target` cannot be written; nothing is left behind.
    """
    target = target.absolute()
    if read_marker(target) == marker and not force:
        return False
    _refuse_foreign(target, force=force)
    if dry_run:
        return True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise explain_os_error(error, target) from error
    try:
        temporary.chmod(0o755)
        write(temporary)
        write_json(marker_path(temporary), marker, indent=2)
        _move_into_place(temporary, target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def is_synthesized(target: Path, options: SynthesisOptions) -> bool:
    """Tell whether `target` is the finished data set of exactly these options, made by this version of admlops."""
    return read_marker(target) == _marker(options)


def read_marker(target: Path) -> dict[str, Any] | None:
    """Return what `synthetic.json` says about a finished synthetic data set; None if there is none."""
    try:
        content = json.loads(marker_path(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _marker(options: SynthesisOptions) -> dict[str, Any]:
    return {
        "synthetic": True,
        "admlops": __version__,
        "recipe": RECIPE,
        "version": VERSION,
        "options": options.as_dict(),
    }


def _refuse_foreign(target: Path, *, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, not a folder", hint="admlops data synthesize ANOTHER_DIR")
    try:
        empty = not target.is_dir() or not any(target.iterdir())
    except OSError as error:
        raise explain_os_error(error, target) from error
    if empty:
        return
    marker = read_marker(target)
    if marker is None:
        raise UsageError(
            f"{target} is not empty and is not a synthetic data set",
            hint=f"admlops data synthesize {target}-synthetic   # name an empty folder; --force replaces only our own",
        )
    if force:
        return
    options = ", ".join(f"{name} {value}" for name, value in marker.get("options", {}).items())
    raise UsageError(
        f"{target} holds a synthetic data set with other options ({options})",
        hint="name another folder, or add --force to replace it",
    )


def _write(folder: Path, options: SynthesisOptions, on_progress: Watch | None, workers: int | None) -> None:
    for kind in ("samples", "sweeps"):
        for channel in (*CAMERA_CHANNELS, LIDAR_CHANNEL):
            (folder / kind / channel).mkdir(parents=True)
    for name in (VERSION, "maps/expansion", "can_bus"):
        (folder / name).mkdir(parents=True)
    record = partial(record_scene, options=options, folder=folder)
    recordings = map_scenes(record, list_scenes(options), options.samples, on_progress=on_progress, workers=workers)
    _write_tables(folder, options, recordings)
    for location in LOCATIONS:
        _write_map(folder, generate_world(location, options.seed), options.seed)
    for recording in recordings:
        for name, content in recording.can_bus.items():
            write_json(folder / "can_bus" / f"{recording.spec.name}_{name}.json", content)


def map_scenes(
    record: Record[Recorded],
    specs: list[SceneSpec],
    samples: int,
    *,
    on_progress: Watch | None,
    workers: int | None,
) -> list[Recorded]:
    """`record(spec, progress)` of every scene, in processes of their own where there are several CPUs and scenes.

    `on_progress` gets the samples done and their total; each scene has `samples`, and calls `progress` after each.
    """
    show = on_progress or _ignore
    count = min(len(specs), workers or len(os.sched_getaffinity(0)))
    if count == 1:
        return _record_alone(record, specs, len(specs) * samples, show)
    return _record_together(record, specs, samples, show, count)


def _record_alone(record: Record[Recorded], specs: list[SceneSpec], total: int, on_progress: Watch) -> list[Recorded]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    return [record(spec, tick) for spec in specs]


def _record_together(
    record: Record[Recorded], specs: list[SceneSpec], samples: int, on_progress: Watch, workers: int
) -> list[Recorded]:
    """One scene a task, in fresh processes, so that the result depends on the arguments alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent) as pool:
        futures = [pool.submit(record, spec, _no_tick) for spec in specs]
        recordings = []
        for number, future in enumerate(futures, 1):
            recordings.append(future.result())
            on_progress(number * samples, len(specs) * samples)
    return recordings


def _write_tables(folder: Path, options: SynthesisOptions, recordings: list[SceneRecording]) -> None:
    rows = fixed_rows()
    for recording in recordings:
        for table, added in recording.rows.items():
            rows[table] += added
    for location in LOCATIONS:
        logs = [recording.log_token for recording in recordings if recording.spec.location == location]
        rows["map"].append(map_row(options.seed, location, logs))
    for table, content in rows.items():
        write_json(folder / VERSION / f"{table}.json", content, indent=0)


def _write_map(folder: Path, world: World, seed: int) -> None:
    write_json(folder / "maps" / "expansion" / f"{world.location}.json", make_map_expansion(world, seed))
    scale = MASK_PIXELS_PER_METRE
    width, height = (int(extent * scale) for extent in world.canvas)
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for area in (world.paved, world.carpark):
        outline = np.asarray(area.exterior.coords) * scale * [1, -1] + [0, height]
        draw.polygon(outline.ravel().tolist(), fill=255)
    mask.save(folder / map_row(seed, world.location, [])["filename"], optimize=True)


def _move_into_place(temporary: Path, target: Path) -> None:
    """Rename; what stood there before is removed only once the new data set is whole."""
    old: Path | None = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / "data")
    try:
        temporary.rename(target)
    except OSError:
        if old is not None:
            with suppress(OSError):
                (old / "data").rename(target)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write strict JSON, with a newline at its end."""
    path.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def _no_tick() -> None:
    """Ignore progress within a scene: it does not leave the scene's process."""


def _ignore(done: int, total: int) -> None:
    """Ignore progress that nobody asked for."""
