"""The notebook of docs/ runs from top to bottom, on two small runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tests.noisy_runs import NoisyRuns

from admlops.core.paths import find_layout

NOTEBOOK = find_layout().root / "docs" / "notebook.ipynb"
MAX_BYTES = 100_000


@pytest.mark.full
def test_the_notebook_runs(noisy_runs: NoisyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, run in (("first", noisy_runs.near), ("second", noisy_runs.far)):
        shutil.copytree(run.path, tmp_path / "repository" / "runs" / name)
    for variable, place in (
        ("ADMLOPS_REP_PATH", "repository"),
        ("IPYTHONDIR", "ipython"),
        ("JUPYTER_RUNTIME_DIR", "j"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / place))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds, "figures and frames are shown"
    assert any("NDS" in output.get("text", "") for output in outputs)
    assert (tmp_path / "precision-recall.pdf").read_bytes().startswith(b"%PDF")


def test_the_notebook_is_small_and_has_no_outputs_of_somebodys_machine() -> None:
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
