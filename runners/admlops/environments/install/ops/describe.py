"""What a wheel's key needs to know of an environment, without importing torch (which takes seconds)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run

QUERY_TIMEOUT_S = 60.0
QUERY = """
import importlib.util, json, runpy, sys, sysconfig
from pathlib import Path
found = importlib.util.find_spec("torch")
version = runpy.run_path(str(Path(found.origin).with_name("version.py"))) if found and found.origin else {}
markers = {"python_full_version": sys.version.split()[0], "python_version": "%d.%d" % sys.version_info[:2]}
print(json.dumps({
    "torch": version.get("__version__"), "cuda": version.get("cuda"), "abi": sysconfig.get_config_var("SOABI"),
    "include": sysconfig.get_paths()["include"], "purelib": sysconfig.get_paths()["purelib"], "markers": markers,
}))
"""


@dataclass(frozen=True, kw_only=True)
class Described:
    """`torch` and `cuda` are torch's own versions (None: no torch, no CUDA); `markers` are for PEP 508."""

    torch: str | None
    cuda: str | None
    abi: str
    include: Path
    site_packages: Path
    markers: Mapping[str, str]


def describe_environment(python: Path, variables: Mapping[str, str | None]) -> Described:
    """Ask an environment's Python. Raises EnvError if it does not run."""
    answer = run([python, "-I", "-c", QUERY], timeout_s=QUERY_TIMEOUT_S, variables=variables)
    if answer.returncode != 0:
        raise EnvError(f"{python} does not run:\n{answer.stderr.strip()}", hint="admlops env repair MODEL")
    facts = json.loads(answer.stdout)
    return Described(
        torch=facts["torch"],
        cuda=facts["cuda"],
        abi=facts["abi"],
        include=Path(facts["include"]),
        site_packages=Path(facts["purelib"]),
        markers=facts["markers"],
    )
