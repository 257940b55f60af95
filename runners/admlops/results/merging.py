"""Joining the shards of one run, each made on a machine of its own, to the run that one machine would have made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import RecordError, UsageError
from admlops.core.storage import explain_os_error
from admlops.results.header import RunHeader, ShardInfo, find_difference, shorten
from admlops.results.run_folder import RunFolder

PARTS = "shards"
"""The folder in a merged run that holds header, events, telemetry and logs of each shard."""
KEPT = ("run.json", "events.jsonl", "telemetry.jsonl")


def check_shards(shards: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the shards in their order, if they are all those of one run, each once and whole.

    Raises:
        UsageError: a run is no shard, a shard is there twice or lacking, or of another run; the message names it.
        RecordError: a shard is not complete, or a file is not what its manifest says.
    """
    if not shards:
        raise UsageError("there is nothing to merge", hint="admlops results merge SHARD... --run NAME")
    known = [(run, _shard_of(run)) for run in shards]
    first, own = known[0]
    for run, shard in known[1:]:
        difference = _difference(first.header, own, run.header, shard)
        if difference is not None:
            key, before, now = difference
            raise UsageError(
                f"{run.path} is no shard of the run that {first.path} is a shard of: {key} is {shorten(now)} there and "
                f"{shorten(before)} here",
                hint="merge shards of one command, each with its own --shard I/N",
            )
    _check_each_once(known)
    for run, _ in known:
        _check_whole(run)
    return [run for run, _ in sorted(known, key=lambda pair: pair[1].index)]


def merge_shards(shards: Sequence[RunFolder], target: Path) -> RunFolder:
    """Write the run that the shards make together to `target`; `check_shards` gave them.

    Records are those of the shards, but for the run's name. What a machine said of itself stays apart, in `shards/`:
    the energy of several machines is not that of one.

    Raises:
        StorageError: the folder holds something, or cannot be written.
        RecordError: a record cannot be read.
    """
    header = whole_header(shards, target.name)
    run = RunFolder.create(target, header)
    with run.lock():
        try:
            for shard in shards:
                _take(run, shard)
        except OSError as error:
            raise explain_os_error(error, target) from error
        run.append_event("merged", shards=[str(shard.header.data.shard) for shard in shards])
        run.update(state="complete")
        run.write_manifest()
    return run


def whole_header(shards: Sequence[RunFolder], name: str) -> RunHeader:
    """Return the header of the merged run: the first shard's, over the scenes of all."""
    header = _whole(shards[0].header, _shard_of(shards[0]))
    parts = [
        {"shard": str(one.header.data.shard), "run": one.header.run, "host": one.header.provenance.host}
        for one in shards
    ]
    options: Mapping[str, Any] = {**header.options, "merged": parts}
    beside = list(dict.fromkeys(one for shard in shards for one in shard.header.neighbours))
    return msgspec.structs.replace(
        header, run=name, options=dict(options), state="running", beside=beside or msgspec.UNSET
    )


def _take(run: RunFolder, shard: RunFolder) -> None:
    """Copy the records of a shard under the merged run's name, and what its machine left."""
    for scene in shard.header.scenes:
        with run.scene_path(scene).open("wb") as file:
            for line, where in shard.lines_of(scene):
                file.write(_renamed(line, run.header.run, where))
    own = run.path / PARTS / str(_shard_of(shard).index)
    own.mkdir(parents=True)
    for name in KEPT:
        if (shard.path / name).is_file():
            shutil.copyfile(shard.path / name, own / name)
    if shard.logs_path.is_dir():
        shutil.copytree(shard.logs_path, own / "logs")


def _renamed(line: bytes, name: str, where: str) -> bytes:
    """A record with another run's name; everything else stays byte for byte."""
    try:
        keys = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(keys["metadata"], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, KeyError) as error:
        raise RecordError(f"{where} is not a record: {error}", hint="admlops results verify RUN") from error
    metadata["run"] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode({**keys, "metadata": metadata}) + b"\n"


def _shard_of(run: RunFolder) -> ShardInfo:
    shard = run.header.data.shard
    if shard is None:
        raise UsageError(
            f"{run.path} is a run of its own, not a shard", hint="admlops run MODEL --shard 1/4   # makes a shard"
        )
    return shard


def _whole(header: RunHeader, shard: ShardInfo) -> RunHeader:
    data = msgspec.structs.replace(header.data, shard=None, split=shard.split, samples_sha256=shard.samples_sha256)
    return msgspec.structs.replace(header, data=data, scenes=shard.scenes)


def _difference(
    first: RunHeader, own: ShardInfo, other: RunHeader, theirs: ShardInfo
) -> tuple[str, object, object] | None:
    if own.count != theirs.count:
        return "the number of shards", own.count, theirs.count
    return find_difference(_whole(first, own), _whole(other, theirs))


def _check_each_once(known: Sequence[tuple[RunFolder, ShardInfo]]) -> None:
    places: dict[int, RunFolder] = {}
    for run, shard in known:
        if shard.index in places:
            raise UsageError(
                f"shard {shard} is there twice: {places[shard.index].path} and {run.path}", hint="leave one of them out"
            )
        places[shard.index] = run
    count = known[0][1].count
    lacking = [str(index) for index in range(1, count + 1) if index not in places]
    if lacking:
        command = str(known[0][0].header.options.get("command") or "admlops run MODEL --shard I/N")
        raise UsageError(
            f"of {count} shards {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing",
            hint=f"add the missing shards; this one was made by: {command}",
        )
    found = [scene for _, run in sorted(places.items()) for scene in run.header.scenes]
    if len(found) != len(set(found)) or set(found) != set(known[0][1].scenes):
        raise UsageError(
            "the scenes of the shards are not those of the whole, each once",
            hint="make the shards by one version of admlops: admlops --version",
        )


def _check_whole(run: RunFolder) -> None:
    state = run.observe_state()
    lacking = [scene for scene in run.header.scenes if not run.scene_path(scene).exists()]
    if state == "running" or lacking:
        raise RecordError(
            f"shard {run.header.data.shard} ({run.path}) is not complete: {len(lacking)} of {len(run.header.scenes)} "
            f"scenes are missing, and the run is {state}",
            hint=run.header.resume_command,
        )
    damaged = [name for name in run.check_manifest() if name.startswith("records/")]
    if damaged:
        raise RecordError(
            f"{run.path / damaged[0]} is not what the shard's manifest says",
            hint="copy the shard's folder again from where it was made",
        )
