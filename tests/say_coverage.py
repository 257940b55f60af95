"""Say in a line what share of the code a test run covered: `python -m tests.say_coverage FILE`.

The worker's files are met under two names, `runners/worker` and the link `runners/admlops/worker`: a line counts once,
and is covered if it ran under either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

executed: dict[Path, set[int]] = {}
known: dict[Path, set[int]] = {}
for name, lines in json.loads(Path(sys.argv[1]).read_text())["files"].items():
    file = Path(name).resolve()
    executed.setdefault(file, set()).update(lines["executed_lines"])
    known.setdefault(file, set()).update(lines["executed_lines"], lines["missing_lines"])
share = sum(map(len, executed.values())) / max(1, sum(map(len, known.values())))
print(f"coverage: {100 * share:.0f} % of the lines, without those that other processes run")
