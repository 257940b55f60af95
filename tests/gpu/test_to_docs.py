"""A card's results become tables, on fabricated numbers; a CPU's do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gpu.to_docs import HEADING, render_benchmarks, write_docs
from tests.models.fidelity_page import render

from admlops.core.paths import find_layout

CARD = "NVIDIA Fabricated 9000"
HALF = {"activations": "half", "tf32_convolutions": True, "tf32_matmul": False}
SINGLE = {"activations": "float32", "tf32_convolutions": False, "tf32_matmul": False}


def timed(n: int, ms: float, force: dict[str, Any]) -> dict[str, Any]:
    return {
        "in_force": force,
        "n": n,
        "mean_ms": ms,
        "min_ms": ms - 2,
        "max_ms": ms + 9,
        "p50_ms": ms,
        "p90_ms": ms + 3,
        "p99_ms": ms + 7 if n >= 662 else None,
        "memory": {"allocated_mb": 654.2, "reserved_mb": 747.0, "device_mb": 1402.4},
    }


def stages(card: str | None = CARD) -> dict[str, Any]:
    torch = {"version": "2.11.0+cu130", "cuda": "13.0", "threads": 8, **({"card": card} if card else {})}
    return {
        "stage_0_machine": {"torch": torch, "cores": 16, "nvidia_smi": f"{card}, 580.1, 141 MiB"},
        "stage_1_compile": {
            "mmcv_full": {"ok": True, "seconds": 213.0, "size_mb": 92.0, "said": ""},
            "variables": {"TORCH_CUDA_ARCH_LIST": "9.0"},
        },
        "stage_3_outputs": {
            "MapTR": {
                "largest": {"bev": 4.5},
                "float32": {
                    "in_force": SINGLE,
                    "outputs": {
                        "bev": {"difference": 1.5e-4, "largest": 4.5},
                        "n": {"difference": 0.0, "largest": 1.0},
                    },
                },
                "authors": {"failed": "OutOfMemoryError: no"},
            },
            "VAD": {"skipped": "VAD's source is not here"},
        },
        "stage_4_latency": {
            "MapTR": {
                "float32": timed(700, 56.0, SINGLE),
                "authors": timed(70, 30.5, HALF),
                "cuda_graph": {"failed": "RuntimeError: operation not permitted | capture"},
            },
            "VAD": {"skipped": "VAD's source is not here"},
        },
        "stage_5_reading": {"MapTR": {"processes": {"1": 3.1, "8": 21.0}, "network_per_s": {"authors": 32.8}}},
        "stage_6_engines": {},
        "stage_7_lidar": {
            "voxels": {"ok": True, "ms": 3.21},
            "sparse": {"ok": True, "difference": 2.5e-6, "voxels": 61_234, "ms": 18.4},
            "pooling": {"ok": False, "difference": 3e-3, "rows": 1_993_728, "ms": 7.77},
        },
        "stage_8_mmcv2": {
            "mmcv": {"ok": True, "seconds": 251.2, "size_mb": 104.0, "said": ""},
            "operations": {"ok": True, "version": "2.1.0", "voxels": True, "sparse": 4.8e-6},
        },
        "stage_9_graphs": {
            "MapTR": {
                "eager": timed(200, 30.5, HALF),
                "graphs": timed(200, 20.3, HALF),
                "parts": {"img_backbone": "replayed", "img_neck": "eager"},
                "refused": {"img_neck": "RuntimeError: not permitted | capturing"},
                "outputs": {"bev": {"difference": 0.0, "largest": 4.5}, "n": {"difference": 2e-7, "largest": 1.0}},
                "ratio": 1.502,
            },
            "VAD": {"skipped": "VAD's source is not here"},
        },
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_stages(tmp_path / "results", stages())


def write_stages(folder: Path, found: dict[str, Any]) -> Path:
    folder.mkdir()
    for name, content in found.items():
        (folder / f"{name}.json").write_text(json.dumps({"stage": name, "status": "done", "results": content}))
    return folder


def row(page: str, *begin: str) -> str:
    """The only row of any table that begins with these cells."""
    found = [line for line in page.splitlines() if line.startswith(f"| {' | '.join(begin)} |")]
    assert len(found) == 1, found
    return found[0]


def test_a_cards_numbers_stand_under_its_name_in_both_pages(results: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    before = {"MapTR": {"upstream": {}}, "PETR": {"gpu": {"Another card": {"machine": "m", "date": "d", "cases": {}}}}}
    (docs / "fidelity.json").write_text(json.dumps(before))
    (docs / "benchmarks.md").write_text("# Benchmarks\n\nBy hand.\n\n## GPUs\n\nOf a card that is not there.\n")
    assert write_docs(results, docs) == CARD
    fidelity = (docs / "fidelity.md").read_text()
    assert f"### {CARD}" in fidelity
    assert "torch 2.11.0+cu130 for CUDA 13.0, driver 580.1, 16 cores" in fidelity.replace("\n", " ")
    assert row(fidelity, "MapTR", "float32") == "| MapTR | float32 | float32 | bev 1.5e-04 of 4.5 |"
    assert "failed: OutOfMemoryError: no" in row(fidelity, "MapTR", "authors: half, positions single")
    data = json.loads((docs / "fidelity.json").read_text())
    assert set(data) == {"MapTR", "PETR", "operations"}, "a network that was skipped has no entry"
    assert "Another card" in data["PETR"]["gpu"]

    page = (docs / "benchmarks.md").read_text()
    assert page.startswith("# Benchmarks\n\nBy hand.\n\n## GPUs")
    assert f"### {CARD}" in page
    assert row(page, "MapTR", "float32").endswith("| 700 | 56.0 | 59.0 | 63.0 | 54.0 | 654 | 747 | 1,402 |")
    assert row(page, "MapTR", "authors", "half, TF32 in convolutions", "70").split(" | ")[6] == "—", "70 carry no p99"
    assert row(page, "MapTR", "authors, CUDA graph").endswith("operation not permitted / capture |")
    assert row(page, "VAD", "all") == "| VAD | all | VAD's source is not here |"
    assert row(page, "MapTR", "3.1") == "| MapTR | 3.1 | 21.0 | 32.8 |"
    assert "compiled there in 213 s (92 MB) for 9.0" in page.replace("\n", " ")
    assert write_docs(results, docs) == CARD
    assert (docs / "benchmarks.md").read_text() == page, "the same results give the same page"


def test_operations_and_graphs_stand_there_too(results: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    write_docs(results, docs)
    page = (docs / "fidelity.md").read_text()
    assert row(page, "voxels") == "| voxels | the CPU's | equal to the bit |"
    assert row(page, "sparse convolutions") == "| sparse convolutions | the CPU's | 2.5e-06 |"
    assert row(page, "BEVFusion's pooling").endswith("| 3.0e-03, MISSED |")
    assert row(page, "mmcv 2.1.0's voxels") == "| mmcv 2.1.0's voxels | the stand-in's | equal to the bit |"
    assert row(page, "mmcv 2.1.0's sparse convolutions").endswith("| the stand-in's | 4.8e-06 |")
    assert "ms" not in json.loads((docs / "fidelity.json").read_text())["operations"]["cards"][CARD]["lidar"]["sparse"]

    page = (docs / "benchmarks.md").read_text()
    assert row(page, "two sparse convolutions, as the encoder begins").endswith("| 61,234 | 18.4 |")
    assert row(page, "features of pictures summed up by cell").endswith("| 1,993,728 | 7.8 |")
    assert row(page, "sweeps of points sorted into voxels").endswith("| — | 3.2 |")
    assert "mmcv 2.1.0's operations were compiled there in 251 s (104 MB)." in page.replace("\n", " ")
    found = row(page, "MapTR", "img_backbone")
    assert found.startswith("| MapTR | img_backbone | 200 | 30.5 | 20.3 | 1.50 | 2.0e-07 | img_neck: RuntimeError")
    assert row(page, "VAD", "—").endswith("| VAD's source is not here |")


def test_a_card_keeps_no_operations_that_were_not_measured_again(results: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    write_docs(results, docs)
    for stage in ("stage_7_lidar", "stage_8_mmcv2", "stage_9_graphs"):
        (results / f"{stage}.json").unlink()
    write_docs(results, docs)
    assert "operations" not in json.loads((docs / "fidelity.json").read_text())
    assert "sparse convolutions" not in (docs / "benchmarks.md").read_text()
    assert "CUDA graphs" not in (docs / "benchmarks.md").read_text()


def test_stages_that_did_not_run_leave_their_tables_out(tmp_path: Path) -> None:
    few = {name: content for name, content in stages().items() if name in ("stage_0_machine", "stage_4_latency")}
    docs = tmp_path / "docs"
    docs.mkdir()
    write_docs(write_stages(tmp_path / "results", few), docs)
    page = (docs / "benchmarks.md").read_text()
    assert "#### Latency and memory" in page
    assert "#### Reading ahead" not in page


def test_results_of_a_cpu_or_of_nothing_are_refused(tmp_path: Path) -> None:
    cpu = write_stages(tmp_path / "cpu", stages(card=None))
    (tmp_path / "empty").mkdir()
    for folder, words in ((cpu, "the stages ran on a CPU"), (tmp_path / "empty", "No such file")):
        command: list[str | Path] = [sys.executable, "-m", "tests.gpu.to_docs", folder, "--docs", tmp_path / "docs"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=find_layout().root)
        assert done.returncode == 2
        assert words in done.stderr
    assert not (tmp_path / "docs").exists()


def test_the_pages_are_what_their_data_say() -> None:
    docs = find_layout().root / "docs"
    page = (docs / "benchmarks.md").read_text()
    assert page.endswith("\n" + render_benchmarks(json.loads((docs / "benchmarks.json").read_text())))
    assert page.count(HEADING) == 1
    assert render(json.loads((docs / "fidelity.json").read_text())) == (docs / "fidelity.md").read_text()
