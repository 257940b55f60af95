"""Where the sources of the original evaluators are, for the tests and benchmarks that run them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.evaluation.generated_maps import Element, Prediction, found_of, truth_of

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.evaluation.vector_map.official_files import OfficialMap, official_map
from admlops.evaluation.vector_map.protocols import MapProtocol

REPOSITORIES = {
    "MapTR": "https://github.com/hustvl/MapTR",
    "VAD": "https://github.com/hustvl/VAD",
    "UniAD": "https://github.com/OpenDriveLab/UniAD",
    "ASAP": "https://github.com/JeffWang987/ASAP",
}


def find_checkout(name: str) -> Path | None:
    """The folder `name` under $ADMLOPS_UPSTREAM, else under submodules/; None where it is not, or is empty."""
    root = Path(os.environ.get("ADMLOPS_UPSTREAM") or find_layout().root / "submodules")
    folder = root / name
    return folder if any((folder / part).is_dir() for part in ("projects", "sAP3D")) else None


def how_to_get(name: str) -> str:
    return f"{name} is not checked out: git clone {REPOSITORIES[name]} submodules/{name}"


def checkout_or_skip(name: str) -> Path:
    folder = find_checkout(name)
    if folder is None:
        pytest.skip(how_to_get(name))
    return folder


def run_maptr(
    predictions: Sequence[Sequence[Prediction]],
    truth: Sequence[Sequence[Element]],
    protocol: MapProtocol,
    *,
    python: str | Path,
    checkout: Path,
    folder: Path,
) -> OfficialMap:
    """What MapTR's evaluator says, run by the given Python."""
    return official_map(
        found_of(predictions, protocol.classes),
        truth_of(truth),
        protocol=protocol,
        python=Path(python),
        variables={},
        checkout=checkout,
        layout=find_layout(),
        folder=folder,
    )


def official_python(name: str) -> tuple[Path | None, str]:
    """The Python of envs/official/<name>, built if it must be; or None and why not."""
    try:
        return ensure_official(find_layout(), name, say=lambda _: None).python, ""
    except EnvError as error:
        return None, f"envs/official/{name} cannot be installed: {error.message}"
