"""Shards of a selection: each machine runs some of its scenes, and `results merge` joins them.

Every machine works out the same shards from the same selection, so machines need not agree on anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.datasets.base import Scene

SHARD = re.compile(r"(\d{1,5})/(\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Shard `index`, from 1, of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the shard that `2/4` names. Raises UsageError."""
    found = SHARD.fullmatch(text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(
            f"--shard {text!r} is not I/N with I from 1 to N", hint="pass --shard 1/4   # the first of four"
        )
    return Shard(index=int(found[1]), count=int(found[2]))


def take_shard(scenes: Sequence[Scene], shard: Shard) -> list[Scene]:
    """Return the scenes of a shard, in their order.

    Scenes are dealt whole, the longest first, each to the shard with the fewest samples so far (the list schedule of
    Graham, 1969: no shard has more than 4/3 of the least possible). Of equals the earlier scene and the lower shard
    come first.

    Raises:
        UsageError: there are fewer scenes than shards.
    """
    if len(scenes) < shard.count:
        raise UsageError(
            f"--shard {shard} cuts {count_of(len(scenes), 'scene')} into {shard.count}; a shard is at least one scene",
            hint=f"pass --shard I/{max(len(scenes), 1)}, or choose more scenes",
        )
    loads = [0] * shard.count
    owner: dict[str, int] = {}
    for scene in sorted(scenes, key=lambda one: -len(one.samples)):
        least = min(range(shard.count), key=lambda index: loads[index])
        loads[least] += len(scene.samples)
        owner[scene.name] = least + 1
    return [scene for scene in scenes if owner[scene.name] == shard.index]
