"""How long `admlops --help` and a completion take, beside an interpreter that does nothing and one that imports click.

    .venv/bin/python benchmarks/startup.py [--json]

Prints the median of 20 interleaved runs of each, warm disk, and the ratio to the bare interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 20
ADMLOPS = str(Path(sys.executable).parent / "admlops")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "import click": [sys.executable, "-c", "import click"],
        "admlops --help": [ADMLOPS, "--help"],
        "completion: run M": [ADMLOPS, "run", "M"],
    }
    asked = {"_ADMLOPS_COMPLETE": "bash_complete", "COMP_WORDS": "admlops run M", "COMP_CWORD": "2"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS + 1):
        for name, command in commands.items():
            begun = time.perf_counter()
            variables = {**os.environ, **asked} if name.startswith("completion") else None
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=variables)
            times[name].append(time.perf_counter() - begun)
    medians_ms = {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}  # the first one warms up
    if as_json:
        print(json.dumps(medians_ms))
        return
    for name, median_ms in medians_ms.items():
        print(
            f"{name:<18} {median_ms:7.1f} ms   {median_ms / medians_ms['bare interpreter']:5.1f} x the bare interpreter"
        )


if __name__ == "__main__":
    main()
