"""How long a model's first environment takes, with the header of its compiled operations precompiled and without.

    .venv/bin/python benchmarks/first_set_up.py [--model NAME] [--device cpu] [--json]

Both sides in one run, one after the other, each into a new folder from cached packages, with all cores. Run
`make setup-NAME` before, which fills the caches. What is compiled is compiled on both sides: no wheel that is there is
taken. An environment has 8 to 10 GB, so the folder lies on the environments' disk, and is removed after each side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from admlops.catalog import load_model
from admlops.core.paths import Layout, find_layout
from admlops.core.types import Device
from admlops.environments import ensure_model
from admlops.environments.install.ops import precompiled
from admlops.environments.install.options import BuildOptions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="StreamPETR", help="one whose environment compiles something")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what it is compiled for")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    measured = {"with": measure(options.model, options.device)}
    precompiled.COMMON_HEADER.clear()  # the build knows no header to precompile any more
    measured["without"] = measure(options.model, options.device)
    result = {
        "model": options.model,
        "cores": os.cpu_count(),
        **{f"{side}_{name}": value for side, times in measured.items() for name, value in times.items()},
        "ratio": measured["without"]["s"] / measured["with"]["s"],
    }
    print(json.dumps(result) if options.json else describe(result))


def measure(model: str, device: Device) -> dict[str, float]:
    """Return the time of one set-up, and the processor time of all that it started [s]."""
    here = find_layout()
    here.environments.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="first-set-up-", dir=here.environments) as name:
        folder = Path(name)
        layout = Layout(root=here.root, repository=folder / "repository", environments=folder / "environments")
        os.sync()
        began, before = time.monotonic(), _processor_s()
        ensure_model(
            layout,
            load_model(layout, model),
            device=device,
            say=lambda line: print(line, file=sys.stderr),
            options=BuildOptions(use_packs=False),
        )
        return {"s": time.monotonic() - began, "processor_s": _processor_s() - before}


def describe(result: dict[str, float]) -> str:
    """Return both sides, and how many times faster the header makes it."""
    rows = [
        f"{side:<8} {result[f'{side}_s'] / 60:6.1f} min   processor time {result[f'{side}_processor_s'] / 60:6.1f} min"
        for side in ("with", "without")
    ]
    title = f"first set-up of {result['model']} on {result['cores']} cores, the header precompiled:"
    return "\n".join((title, *rows, f"without ÷ with: {result['ratio']:.2f}"))


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
