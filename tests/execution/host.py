"""A host process of its own, to be killed: `host.py FOLDER SCENES SAMPLES PAUSE_S WORKERS BEHAVIOUR AT`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.execution.execution_bench import Bench

from admlops.cli.signals import cancel_on_signals


def main() -> int:
    folder, scenes, samples, pause_s, workers, behaviour, at = sys.argv[1:]
    bench = Bench(Path(folder), {f"s{index}": int(samples) for index in range(int(scenes))})
    options = {"pause_s": float(pause_s), "behaviour": behaviour, "at": at}
    with cancel_on_signals() as token:
        return 0 if bench.go(options, workers=int(workers), cancel=token).state == "complete" else 1


if __name__ == "__main__":
    sys.exit(main())
