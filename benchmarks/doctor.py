"""How often `admlops doctor` is right, unknown or wrong, on logs as people paste them.

    python benchmarks/doctor.py [--folder tests/doctor/logs] [--show wrong,unknown] [--json]

Each log is labelled with the rule that explains it, with "unknown" for a failure that no rule explains, or with "none".
A fifth of each family is held out: nobody looked at it while the rules were written. An answer is `right` where it is
the label (an unknown failure that is called unknown is right too), `unknown` where a known one was not recognised, and
`wrong` where something else was told.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from admlops.doctor import explain
from admlops.doctor.log import clean

LOGS = Path(__file__).resolve().parents[1] / "tests" / "doctor" / "logs"
VERDICTS = ("right", "unknown", "wrong")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was answered about one log."""

    family: str
    name: str
    held_out: bool
    expected: str
    answered: str

    @property
    def verdict(self) -> str:
        """right, unknown or wrong."""
        if self.answered == self.expected:
            return "right"
        return "unknown" if self.answered in {"unknown", "none"} else "wrong"


def judge(folder: Path) -> Iterator[Verdict]:
    """The doctor's answer about every log of a folder."""
    for path in sorted(folder.glob("*.toml")):
        for name, one in tomllib.loads(path.read_text()).items():
            told = explain(clean(one["log"]))
            last = told.findings[-1].diagnosis if told.findings and told.state == "known" else None
            yield Verdict(
                family=path.stem,
                name=name,
                held_out=one.get("held_out", False),
                expected=one["kind"],
                answered=last.rule if last is not None else told.state,
            )


def main() -> int:
    """Print the table; exit code 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=LOGS)
    parser.add_argument("--show", default="", help="verdicts whose logs are named, such as wrong,unknown")
    parser.add_argument("--part", choices=("open", "held out"), help="name logs of this part alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    verdicts = list(judge(options.folder))
    if options.json:
        print(json.dumps([{**asdict(one), "verdict": one.verdict} for one in verdicts], indent=2))
    else:
        _print_table(verdicts)
        for one in verdicts:
            if one.verdict in options.show.split(",") and options.part in {None, _part(one)}:
                print(f"{one.verdict:8} {one.family}/{one.name}: {one.answered}, not {one.expected} ({_part(one)})")
    return 1 if any(one.verdict == "wrong" for one in verdicts) else 0


def _part(one: Verdict) -> str:
    return "held out" if one.held_out else "open"


def _print_table(verdicts: list[Verdict]) -> None:
    rows = Counter((_part(one), one.family, one.verdict) for one in verdicts)
    print(f"{'part':10}{'family':14}{'logs':>6}" + "".join(f"{name:>9}" for name in VERDICTS) + f"{'right':>9}")
    for part in ("open", "held out"):
        families = sorted({family for where, family, _ in rows if where == part})
        for family in [*families, "all"]:
            counts = [
                sum(
                    n
                    for (where, which, name), n in rows.items()
                    if (where, name) == (part, verdict) and family in {which, "all"}
                )
                for verdict in VERDICTS
            ]
            total = sum(counts)
            print(
                f"{part:10}{family:14}{total:6}"
                + "".join(f"{n:9}" for n in counts)
                + f"{counts[0] / max(total, 1):9.1%}"
            )


if __name__ == "__main__":
    sys.exit(main())
