"""How fast a pack is unpacked and verified, beside `tar --zstd -x` of the same file.

    .venv/bin/python benchmarks/unpacking.py PREFIX [--json]

PREFIX is a ready environment. It is packed once into a temporary folder; then both sides unpack the archive in turns,
onto the same disk, and the median of five runs of each is printed. Ours hashes every file; tar checks nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from admlops.environments.reuse.packs import Pack, pack_environment, unpack

RUNS = 5


def measure(prefix: Path, runs: int = RUNS) -> dict[str, float]:
    """Median seconds of both sides, the speed ratio (ours to tar's), and the size."""
    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=".unpacking-") as folder:
        pack = pack_environment(prefix, Path(folder))
        target = Path(folder) / "out"
        sides: dict[str, Callable[[], None]] = {
            "tar": lambda: _untar(pack, target),
            "ours": lambda: _unpack(pack, target),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(runs):
            for name, side in sides.items():
                seconds[name].append(_timed(side, target))
        tar_s, ours_s = (statistics.median(seconds[name]) for name in ("tar", "ours"))
        return {
            "megabytes": pack.manifest.size_bytes / 1e6,
            "files": float(len(pack.manifest.entries)),
            "tar_s": tar_s,
            "ours_s": ours_s,
            "speed_ratio": tar_s / ours_s,
        }


def _unpack(pack: Pack, target: Path) -> None:
    unpack(pack, target)


def _untar(pack: Pack, target: Path) -> None:
    target.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", pack.archive, "-C", target], check=True)


def _timed(side: Callable[[], None], target: Path) -> float:
    begun = time.perf_counter()
    side()
    elapsed = time.perf_counter() - begun
    shutil.rmtree(target)
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    result = measure(options.prefix.resolve())
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['files']:.0f} entries, {result['megabytes']:.0f} MB")
    print(f"tar --zstd -x          {result['tar_s']:6.2f} s")
    print(f"unpack and verify      {result['ours_s']:6.2f} s   {result['speed_ratio']:.2f} x tar's speed")


if __name__ == "__main__":
    main()
