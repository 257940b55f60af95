"""Say in a line what share of the code a test run covered: `python -m tests.say_coverage FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

summary = json.loads(Path(sys.argv[1]).read_text())["summary"]
print(f"coverage: {summary['percent_covered']:.0f} % of the lines, without those that other processes run")
