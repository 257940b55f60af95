"""The vendored files: those that were fetched, each with its licence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from admlops.service.dashboard.rendering import STATIC

VENDOR = Path(__file__).parents[3] / "runners" / "admlops" / "service" / "dashboard" / "vendor"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "fetch.sh", "--check"], capture_output=True, text=True, check=False)


def test_every_file_is_what_its_hash_says_and_a_changed_one_is_told(tmp_path: Path) -> None:
    assert check(VENDOR).returncode == 0, check(VENDOR).stderr
    listed = {line.split()[1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines()}
    assert {name for name, (folder, _) in STATIC.items() if folder == "vendor"} <= listed
    copy = shutil.copytree(VENDOR, tmp_path / "vendor")
    with (copy / "htmx.min.js").open("a") as file:
        file.write("\n")
    told = check(copy)
    assert told.returncode == 1
    assert "is not what SHA256SUMS says" in told.stderr


def test_licences_lie_beside_what_they_are_of() -> None:
    assert "Zero-Clause BSD" in (VENDOR / "htmx.LICENSE").read_text()
    assert "Permission is hereby granted" in (VENDOR / "uPlot.LICENSE").read_text()
