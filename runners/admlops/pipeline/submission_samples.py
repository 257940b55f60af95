"""The samples of a results file made elsewhere: their split, their order, and what a header says of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from admlops.core.errors import AdmlopsError, UsageError
from admlops.datasets.base import Dataset, Scene, tokens_digest
from admlops.results.header import DataInfo


def describe_data(data: Dataset, scenes: Sequence[Scene], split: str) -> DataInfo:
    """Return what the run's header says of the samples: they are all of the split."""
    samples = [token for scene in scenes for token in scene.samples]
    return DataInfo(
        root=str(data.root),
        version=data.version,
        split=split,
        samples_sha256=tokens_digest(samples),
        synthetic=data.is_synthetic,
        whole=f"split {split}",
        whole_samples=len(samples),
        kind=data.kind,
    )


def find_places(scenes: Sequence[Scene], tokens: Sequence[str]) -> list[int]:
    """Return for each token the place of its record, scene after scene."""
    place = {token: number for number, token in enumerate(token for scene in scenes for token in scene.samples)}
    return [place[token] for token in tokens]


def in_file_order(scenes: Sequence[Scene], tokens: Sequence[str]) -> list[Scene]:
    """Return the scenes in the order in which the file comes upon them."""
    first = {token: number for number, token in reversed(list(enumerate(tokens)))}
    return sorted(scenes, key=lambda scene: min(first[token] for token in scene.samples))


def check_tokens(file: Path, data: Dataset, tokens: Sequence[str], scenes: Sequence[Scene], split: str) -> None:
    """Refuse a file whose samples are not exactly those of the split, as the official code does.

    Raises:
        UsageError: samples are missing, or others are there.
    """
    wanted = {token for scene in scenes for token in scene.samples}
    there = set(tokens)
    if wanted == there:
        return
    missing = [token for scene in scenes for token in scene.samples if token not in there]
    extra = [token for token in tokens if token not in wanted]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of the {len(wanted)} samples of split {split} are missing ({missing[0]} first)")
    if extra:
        parts.append(f"{len(extra)} samples are not of split {split} ({extra[0]} first)")
    other = find_split(data, there)
    hint = (
        f"pass --split {other}, whose samples these are"
        if other
        else f"check that {data.root} ({data.version}) and --split are what the file was made for"
    )
    raise UsageError(f"{file}: {'; '.join(parts)}", hint=hint)


def find_split(data: Dataset, tokens: set[str]) -> str | None:
    """Return the split that has exactly these samples."""
    for split in ("val", "mini_val", "mini_train", "train", "test", "all"):
        with suppress(AdmlopsError):
            if {token for scene in data.scenes_of_split(split) for token in scene.samples} == tokens:
                return split
    return None
