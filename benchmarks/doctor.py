"""How often `admlops doctor` is right, unknown or wrong, on logs as people paste them.

    python benchmarks/doctor.py [--show wrong,unknown] [--part PART] [--json]

Each log is labelled with the rule that explains it, with "unknown" for a failure that no rule explains, or with "none".
Parts: `open` are the logs that rules were written for, `held out` a fifth of each family that nobody looked at while
the rules were written, and one part a file of tests/doctor/held_out, each written down before it was first answered.
An answer is `right` where it is the label (an unknown failure that is called unknown is right too) or one of `also`,
`unknown` where a known failure was not recognised, and `wrong` where something else was told: another rule, or that
nothing failed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from admlops.doctor import explain
from admlops.doctor.log import read_stream

TESTS = Path(__file__).resolve().parents[1] / "tests" / "doctor"
LOGS = TESTS / "logs"
HELD_OUT = TESTS / "held_out"
VERDICTS = ("right", "unknown", "wrong")
KINDS = ("a rule", "unknown", "none")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was answered about one log."""

    part: str
    family: str
    name: str
    expected: str
    also: tuple[str, ...]
    answered: str

    @property
    def verdict(self) -> str:
        """right, unknown or wrong."""
        if self.answered in {self.expected, *self.also}:
            return "right"
        return "unknown" if self.answered == "unknown" else "wrong"


def answer(log: Mapping[str, Any]) -> str:
    """Return the rule that is told about a log, or its state; the log reaches the doctor in the `form` it names."""
    text, form = log["log"], log.get("form", "utf-8")
    data = gzip.compress(text.encode()) if form == "gzip" else text.encode(form)
    told = explain(read_stream(io.BytesIO(data), "a log").lines)
    last = told.findings[-1].diagnosis if told.findings and told.state == "known" else None
    return last.rule if last is not None else told.state


def judge(logs: Path = LOGS, held_out: Path = HELD_OUT, *, part: str | None = None) -> Iterator[Verdict]:
    """The doctor's answer about every log of both folders, or about those of one part."""
    for path in [*sorted(logs.glob("*.toml")), *sorted(held_out.glob("*.toml"))]:
        for name, one in tomllib.loads(path.read_text()).items():
            own = path.stem if path.parent == held_out else "held out" if one.get("held_out") else "open"
            if part not in {None, own}:
                continue
            yield Verdict(
                part=own,
                family=path.stem,
                name=name,
                expected=one["kind"],
                also=tuple(one.get("also", ())),
                answered=answer(one),
            )


def main() -> int:
    """Print the tables; exit code 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", default="", help="verdicts whose logs are named, such as wrong,unknown")
    parser.add_argument("--part", help="this part alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    verdicts = list(judge(part=options.part))
    if options.json:
        print(json.dumps([{**asdict(one), "verdict": one.verdict} for one in verdicts], indent=2))
    else:
        _print_tables(verdicts)
        for one in verdicts:
            if one.verdict in options.show.split(","):
                print(f"{one.verdict:8} {one.part}: {one.family}/{one.name}: {one.answered}, not {one.expected}")
    return 1 if any(one.verdict == "wrong" for one in verdicts) else 0


def _print_tables(verdicts: list[Verdict]) -> None:
    parts = list(dict.fromkeys(one.part for one in verdicts))
    print(f"{'part':12}{'family':14}{'logs':>6}" + "".join(f"{name:>9}" for name in VERDICTS) + f"{'right':>9}")
    for part in parts:
        families = sorted({one.family for one in verdicts if one.part == part})
        for family in [*(families if len(families) > 1 else []), "all"]:
            _print_row(part, family, [one for one in verdicts if one.part == part and family in {one.family, "all"}])
    print("\nconfusion: the label, and what was answered")
    print(f"{'part':12}{'label':10}{'logs':>6}{'the same':>10}{'unknown':>9}{'none':>9}{'another rule':>14}")
    for part in parts:
        for kind in KINDS:
            _print_confusion(part, kind, [one for one in verdicts if one.part == part and _kind(one.expected) == kind])


def _print_row(part: str, family: str, verdicts: list[Verdict]) -> None:
    counts = Counter(one.verdict for one in verdicts)
    print(
        f"{part:12}{family:14}{len(verdicts):6}"
        + "".join(f"{counts[name]:9}" for name in VERDICTS)
        + f"{counts['right'] / max(len(verdicts), 1):9.1%}"
    )


def _print_confusion(part: str, kind: str, verdicts: list[Verdict]) -> None:
    counts = Counter("the same" if one.verdict == "right" else _kind(one.answered) for one in verdicts)
    print(
        f"{part:12}{kind:10}{len(verdicts):6}{counts['the same']:10}{counts['unknown']:9}{counts['none']:9}"
        f"{counts['a rule']:14}"
    )


def _kind(label: str) -> str:
    return label if label in KINDS else "a rule"


if __name__ == "__main__":
    sys.exit(main())
