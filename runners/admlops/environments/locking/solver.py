"""The program that solves: a request in JSON on stdin, packages in JSON on stdout. See `solve`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

UNSOLVABLE = 3


def main() -> int:
    """Answer one request. Returns the exit status."""
    from rattler.exceptions import SolverError

    request = json.load(sys.stdin)
    try:
        with tempfile.TemporaryDirectory(prefix="admlops-solve-") as cache:
            records = asyncio.run(_solve(request, cache))
    except SolverError as error:
        print(error, file=sys.stderr)
        return UNSOLVABLE
    except Exception as error:  # noqa: BLE001 - the edge of this process: py-rattler's own errors have no common class
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    json.dump(records, sys.stdout)
    return 0


async def _solve(request: dict[str, Any], cache: str) -> list[dict[str, Any]]:
    import rattler

    virtual = [
        rattler.GenericVirtualPackage(rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build))
        for name, version, build in request["virtual_packages"]
    ]
    records = await rattler.solve(
        [rattler.Channel(source) for source in request["sources"]],
        [rattler.MatchSpec(spec, strict=False) for spec in request["specs"]],
        gateway=rattler.Gateway(cache_dir=Path(cache)),
        platforms=request["platforms"],
        virtual_packages=virtual,
    )
    order = [record.name.normalized for record in rattler.PackageRecord.sort_topologically(list(records))]
    return [_spell(record) for record in sorted(records, key=lambda record: order.index(record.name.normalized))]


def _spell(record: Any) -> dict[str, Any]:
    noarch = record.noarch
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "build_number": record.build_number,
        "subdir": str(record.subdir),
        "channel": str(record.channel),
        "file_name": record.file_name,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "md5": record.md5.hex() if record.md5 else None,
        "size_bytes": record.size,
        "depends": list(record.depends),
        "constrains": list(record.constrains),
        "noarch": "generic" if noarch.generic else "python" if noarch.python else None,
        "timestamp": int(record.timestamp.timestamp() * 1000) if record.timestamp else None,
    }


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # py-rattler sometimes crashes a process that ends in the normal way
