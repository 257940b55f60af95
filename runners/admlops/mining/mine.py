"""Mining a run: its samples in order of how much they are worth a look, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog.registries import MINING_RULES
from admlops.core.errors import UsageError
from admlops.core.storage import write_atomically
from admlops.datasets.base import Dataset
from admlops.mining.found import FoundRun
from admlops.mining.rules.base import MinedSample, MiningInput, MiningRule

TOKENS, LIST = "samples.txt", "mined.json"
ROUNDED = 9
"""Scores that agree to so many digits are equal: sums in another order differ in the last bit."""


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What a rule chose of a run, the first the most worth a look; `found` samples had a reason at all."""

    by: str
    runs: tuple[str, ...]
    samples: tuple[MinedSample, ...]
    found: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        samples = [one.to_json() for one in self.samples]
        return {"by": self.by, "runs": list(self.runs), "found": self.found, "samples": samples}


def find_rule(name: str, runs: int) -> MiningRule:
    """Return a rule. Raises UsageError: it wants another number of runs."""
    rule: MiningRule = MINING_RULES.get(name)
    if rule.runs != runs:
        want = "two runs over the same samples" if rule.runs == 2 else "one run"
        raise UsageError(
            f"--by {name} wants {want}",
            hint=f"admlops data mine RUN{' RUN2' * (rule.runs == 2)} --by {name}",
        )
    return rule


def mine(rule: MiningRule, runs: Sequence[FoundRun], data: Dataset, *, top: int) -> Mined:
    """Choose the `top` samples by a rule; of equal scores the earlier in the run.

    Raises:
        UsageError: the rule needs something that the runs do not have.
        DataError: the data set cannot be read.
    """
    given = MiningInput(runs=runs, data=data)
    samples = given.run.samples
    reasons = {token: own for token, own in rule.find(given).items() if own and token in samples}
    scored = [
        MinedSample(
            token=token,
            scene=samples[token].scene,
            score=sum(one.weight for one in own),
            reasons=tuple(sorted(own, key=lambda one: -one.weight)),
        )
        for token, own in reasons.items()
    ]
    place = {token: index for index, token in enumerate(samples)}
    scored.sort(key=lambda one: (-round(one.score, ROUNDED), place[one.token]))
    names = tuple(run.name for run in runs)
    return Mined(by=rule.id, runs=names, samples=tuple(scored[:top]), found=len(scored))


def write_mined(mined: Mined, folder: Path) -> None:
    """Write the list with its reasons, and the tokens as `admlops run --tokens` takes them. Raises StorageError."""
    lines = [f"# {mined.by} of {', '.join(mined.runs)}: the most worth a look first\n"]
    lines += [f"{one.token}  # {one.score:.3f} {one.scene}: {one.reasons[0].what}\n" for one in mined.samples]
    write_atomically(folder / TOKENS, "".join(lines).encode())
    content = msgspec.json.format(msgspec.json.encode(mined.to_json()), indent=2)
    write_atomically(folder / LIST, content + b"\n")
