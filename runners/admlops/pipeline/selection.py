"""Choosing the samples of a run: a split, named scenes, or named tokens; always in scene order."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from admlops.core.errors import DataError, UsageError
from admlops.curation.where import Where, choose_samples, read_where
from admlops.datasets.base import STREAM, Dataset
from admlops.datasets.nuscenes.tables import Scene
from admlops.pipeline.shards import Shard, take_shard

TOKEN = re.compile(r"[0-9a-zA-Z_.:-]{4,128}")
STANDARD_INPUT = Path("-")
NUSCENES_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The user's choice; exactly one of `split`, `scenes` and `tokens` counts, the split if nothing is named.

    `complete_scenes` takes the whole of every scene that a chosen sample is in. `shard` takes some of the scenes.
    `where` is a condition over columns of samples, with tags of the file `rules` or built-in ones. Of what is chosen
    otherwise it keeps the scenes that have such samples, whole, because models may carry state from sample to sample.
    """

    split: str = "mini_val"
    scenes: tuple[str, ...] = ()
    tokens: Path | None = None
    limit: int | None = None
    complete_scenes: bool = False
    shard: Shard | None = None
    where: str | None = None
    rules: Path | None = None

    def __post_init__(self) -> None:
        if self.scenes and self.tokens is not None:
            raise UsageError("--scene and --tokens exclude each other", hint="pass one of the two")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit} leaves no sample", hint="pass --limit 1 or more")
        if self.rules is not None and self.where is None:
            raise UsageError("--rules defines tags for --where, and there is none", hint="add --where \"tag = 'NAME'\"")

    @cached_property
    def chosen_by(self) -> Where | None:
        """The condition, read; None without one. Raises UsageError: it or a rule is wrong."""
        return None if self.where is None else read_where(self.where, self.rules)

    @property
    def split_name(self) -> str | None:
        """The split's name if a whole split is asked for, else None."""
        part = self.scenes or self.tokens is not None or self.limit is not None or self.shard is not None
        part = part or self.where is not None
        return None if part else self.split


def select(data: Dataset, selection: Selection, *, temporal: bool = False) -> list[Scene]:
    """Return the scenes to run, each with the samples to run, in time order; for a shard only its scenes.

    Raises:
        DataError, UsageError: as `select_all`; or there are fewer scenes than shards.
    """
    scenes = select_all(data, selection, temporal=temporal)
    return scenes if selection.shard is None else take_shard(scenes, selection.shard)


def select_all(data: Dataset, selection: Selection, *, temporal: bool = False) -> list[Scene]:
    """Return the scenes of all shards, each with the samples to run, in time order.

    Raises:
        DataError: an unknown split, scene or token.
        UsageError: the condition is wrong, or holds nowhere; the token file or folder is missing, empty or holds
            something else; or the model is `temporal`, and the samples of a scene do not begin at its first one or
            leave some out.
    """
    chosen = _choose(data, selection)
    if selection.complete_scenes:
        return data.scenes([scene.name for scene in chosen])
    if temporal:
        _refuse_holes(data, chosen, selection)
    return chosen


def measure_whole(data: Dataset, selection: Selection) -> tuple[str, int]:
    """Return what a selection is a part of, a split or the version of the data set, and its number of samples."""
    if selection.scenes or selection.tokens is not None:
        name, scenes = data.version, data.scenes()
    else:
        name, scenes = f"split {selection.split}", data.scenes_of_split(selection.split)
    return name, sum(len(scene.samples) for scene in scenes)


def _refuse_holes(data: Dataset, chosen: list[Scene], selection: Selection) -> None:
    """A temporal model's outputs depend on all samples of the scene before: it starts at the first, and skips none."""
    for scene in chosen:
        (whole,) = data.scenes([scene.name])
        if scene.samples != whole.samples[: len(scene.samples)]:
            raise UsageError(
                f"{selection.tokens or 'the selection'} takes {len(scene.samples)} of {len(whole.samples)} samples of "
                f"{scene.name}, with some left out before or between them; this model carries state from sample to "
                "sample, so its outputs would differ from those of the whole scene",
                hint="add --complete-scenes to run the whole of each scene that a token is in",
            )


def _choose(data: Dataset, selection: Selection) -> list[Scene]:
    if selection.tokens is not None:
        scenes = _scenes_of_tokens(data, read_tokens(selection.tokens), selection.tokens)
    elif selection.scenes:
        scenes = data.scenes(selection.scenes)
    else:
        scenes = data.scenes_of_split(selection.split)
    if selection.chosen_by is not None:
        scenes = _scenes_where(data, scenes, selection.chosen_by)
    return scenes if selection.limit is None else _first_samples(scenes, selection.limit)


def read_tokens(source: Path) -> list[str]:
    """Sample tokens from a file (one a line, # begins a comment), from a folder of such files, or from a stream.

    `-` is standard input; a pipe, such as the shell's `<(…)`, is read once a process, however often it is asked for.

    In a folder a file may also be empty or hold something else (a picture, say) and carry its token as its name.
    """
    if source.is_dir():
        tokens = [token for path in sorted(source.iterdir()) if path.is_file() for token in _tokens_of_file(path)]
    elif source == STANDARD_INPUT or source.exists():
        tokens = _lines(_read_text(source) if source.is_file() else _read_stream(source))
        wrong = next((token for token in tokens if not TOKEN.fullmatch(token)), None)
        if wrong is not None:
            raise UsageError(f"{source}: {wrong[:60]!r} is not a sample token", hint="keep one sample token a line")
    else:
        raise UsageError(
            f"--tokens {source} does not exist", hint="pass a file with one sample token a line, or a folder"
        )
    if not tokens:
        raise UsageError(f"--tokens {source} holds no sample token", hint="keep one sample token a line or a file")
    return list(dict.fromkeys(tokens))


def _tokens_of_file(path: Path) -> list[str]:
    if NUSCENES_TOKEN.fullmatch(path.stem):
        return [path.stem]
    if path.name.startswith("."):
        return []
    return [line for line in _lines(_read_text(path)) if TOKEN.fullmatch(line)]


def _lines(text: str) -> list[str]:
    stripped = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


@cache
def _read_stream(path: Path) -> str:
    return _read_text(Path("/dev/stdin") if path == STANDARD_INPUT else path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}", hint="keep one sample token a line") from error


def _scenes_of_tokens(data: Dataset, tokens: list[str], source: Path) -> list[Scene]:
    wanted = set(tokens)
    chosen = []
    for scene in data.scenes():
        samples = tuple(token for token in scene.samples if token in wanted)
        if samples:
            chosen.append(replace(scene, samples=samples))
            wanted.difference_update(samples)
    if wanted:
        unknown = next(token for token in tokens if token in wanted)
        raise DataError(
            f"{data.root / data.version} has no sample {unknown!r} ({len(wanted)} of {len(tokens)} tokens in {source})",
            hint="check that --data and --version are those the tokens were taken from",
        )
    return chosen


def _scenes_where(data: Dataset, scenes: list[Scene], where: Where) -> list[Scene]:
    """The scenes with a sample where the condition holds. Raises UsageError: there is none."""
    if STREAM in data.capabilities:
        raise UsageError(
            "--where chooses key frames, and a run at 12 Hz has the pictures between them too",
            hint="leave out --stream",
        )
    chosen = choose_samples(data, where)
    found = [scene for scene in scenes if not chosen.isdisjoint(scene.samples)]
    if not found:
        samples = sum(len(scene.samples) for scene in scenes)
        raise UsageError(
            f"--where {where.text!r} holds for none of the {samples} samples that are chosen",
            hint=f"admlops data tag {data.root}   # counts what there is; or choose more: --split, --scene",
        )
    return found


def _first_samples(scenes: list[Scene], limit: int) -> list[Scene]:
    chosen: list[Scene] = []
    for scene in scenes:
        left = limit - sum(len(done.samples) for done in chosen)
        if left <= 0:
            break
        chosen.append(replace(scene, samples=scene.samples[:left]))
    return chosen
