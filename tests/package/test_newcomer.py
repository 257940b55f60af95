"""A newcomer's path: the wheel into an empty environment, a run evaluated there, its page, a table, the API."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.noisy_runs import write_data, write_noisy_run
from tests.package.wheel import build_wheel
from tests.venvs import make_venv

PROGRAM = """
import admlops, sys
run = admlops.open_run(sys.argv[1])
print(type(run.to_frame(library="polars")).__module__.split(".")[0], len(run.to_frame(library="polars")))
print(run.metrics["NDS"].n, run.plot_scores() is not None, "worker" in sys.modules)
try:
    run.to_frame()
except ImportError as error:
    print(error)
try:
    import worker
except ImportError:
    print("no other name")
"""


@pytest.mark.full
@pytest.mark.timeout(900)
def test_from_an_empty_environment_to_a_table(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheel")
    home = tmp_path / "home"
    home.mkdir()
    bin_folder = make_venv(tmp_path / "venv", f"admlops[polars] @ {wheel.as_uri()}")
    data = write_data(tmp_path / "nuscenes")
    run = write_noisy_run(home / "near", data, "Near", noise=0.2).path

    def type_in(program: str, *arguments: str | Path, code: int = 0) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADMLOPS", "VIRTUAL_ENV"))}
        done = subprocess.run(
            [bin_folder / program, *map(str, arguments)],
            cwd=home, env={**kept, "HOME": str(home), "PYTHONPATH": ""}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "evaluate" in type_in("admlops", "--help")
    assert "NDS" in type_in("admlops", "evaluate", "near")
    # The same boxes as a file for the official evaluation server, as somebody else's framework writes it.
    type_in("admlops", "results", "export", "near", "--format", "nuscenes", "--out", "theirs.json")
    assert "NDS" in type_in("admlops", "evaluate", "theirs.json", "--data", data.root)
    assert "report: " in type_in("admlops", "report", "near", "--figures", "figures")
    assert (run / "report.html").stat().st_size > 10_000
    assert (home / "figures" / "latency.pdf").is_file()
    assert r"\toprule" in type_in("admlops", "results", "table", "near", "--format", "latex")
    assert "needs a checkout" in type_in("admlops", "run", "GroundPlane", code=2)
    assert type_in("python", "-c", PROGRAM, "near").splitlines() == [
        "polars 9",
        "9 True False",
        'to_frame(library="pandas") needs pandas, which is not installed',
        '  → pip install "admlops[pandas]"',
        "no other name",
    ]
