"""A host process of its own, to be killed: `host.py FOLDER SCENES SAMPLES PAUSE_S WORKERS BEHAVIOUR AT`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.execution.execution_bench import Bench


def main() -> int:
    folder, scenes, samples, pause_s, workers, behaviour, at = sys.argv[1:]
    bench = Bench(Path(folder), {f"s{index}": int(samples) for index in range(int(scenes))})
    options = {"pause_s": float(pause_s), "behaviour": behaviour, "at": at}
    return 0 if bench.go(options, workers=int(workers)).state == "complete" else 1


if __name__ == "__main__":
    sys.exit(main())
