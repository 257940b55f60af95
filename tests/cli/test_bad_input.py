"""A user's mistakes: each says what, where and what to type next, exits 2, shows no traceback, and damages nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from admlops.core.paths import find_layout
from admlops.environments import Environment

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]


def refused(completed: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command ended with exit code 2, said every one of `words` and a next command, and showed no traceback."""
    said = completed.stdout + completed.stderr
    assert completed.returncode == 2, said
    assert "Traceback" not in said
    assert "→" in completed.stderr, said
    for word in words:
        assert word in said, said


@pytest.fixture
def own_root(synthetic_root: Path, tmp_path: Path) -> Path:
    """A copy of the synthetic data set that a test may break: own tables, own first images, the rest linked."""
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root, copy_function=os.link)
    shutil.rmtree(root / "v1.0-mini")
    shutil.copytree(synthetic_root / "v1.0-mini", root / "v1.0-mini")
    return root


def edit_table(root: Path, name: str, change: Callable[[list[dict[str, object]]], object]) -> None:
    path = root / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def test_a_missing_data_set(admlops: Admlops, tmp_path: Path) -> None:
    refused(admlops("run", "GroundPlane", "--data", tmp_path / "nowhere", check=False), str(tmp_path / "nowhere"))
    assert not (tmp_path / "repository").exists()


def test_no_data_set_at_all(admlops: Admlops) -> None:
    refused(admlops("run", "GroundPlane", check=False), "no --data was given", "admlops data synthesize")


def test_another_version(admlops: Admlops, synthetic_root: Path) -> None:
    completed = admlops("run", "GroundPlane", "--data", synthetic_root, "--version", "v1.0-trainval", check=False)
    refused(completed, "v1.0-trainval")


@pytest.mark.parametrize("table", ["sample", "calibrated_sensor", "ego_pose"])
def test_half_a_data_set(admlops: Admlops, own_root: Path, table: str) -> None:
    (own_root / "v1.0-mini" / f"{table}.json").unlink()
    refused(admlops("run", "GroundPlane", "--data", own_root, check=False), f"{table}.json")


def test_a_table_that_was_cut_short(admlops: Admlops, own_root: Path) -> None:
    path = own_root / "v1.0-mini" / "sample_data.json"
    path.write_bytes(path.read_bytes()[:1000])
    refused(admlops("run", "GroundPlane", "--data", own_root, check=False), "sample_data.json", "not whole JSON")


def test_a_row_that_lacks_a_key(admlops: Admlops, own_root: Path) -> None:
    edit_table(own_root, "calibrated_sensor", lambda rows: rows[0].pop("sensor_token"))
    refused(admlops("run", "GroundPlane", "--data", own_root, check=False), "sensor_token")


def test_names_that_nobody_has(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    refused(admlops("run", "MapTRR", "--data", synthetic_root, check=False), "MapTRR")
    refused(
        admlops("run", "GroundPlane", "--data", synthetic_root, "--scene", "scene-9", check=False),
        "scene-9",
        "scene-0916",
    )
    refused(admlops("run", "GroundPlane", "--data", synthetic_root, "--split", "val", check=False), "val")
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("f" * 32)
    refused(admlops("run", "GroundPlane", "--data", synthetic_root, "--tokens", tokens, check=False), "f" * 32)
    refused(admlops("evaluate", "no-such-run", check=False), "no-such-run")
    refused(admlops("report", "no-such-run", check=False), "no-such-run")


def test_a_model_that_is_not_set_up(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    nowhere = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "environments")}
    said = admlops("run", "MapTR", "--data", synthetic_root, check=False, variables=nowhere)
    refused(said, "MapTR", "not set up", "make setup-MapTR")


@pytest.mark.parametrize(
    "options",
    [
        ("--workers", "0"),
        ("--limit", "0"),
        ("--resume",),
        ("--timeout", "-1"),
        ("--start-timeout", "0"),
        ("--config", "nowhere.py"),
        ("--run", "../one"),
        ("--run", ""),
    ],
)
def test_options_out_of_range(admlops: Admlops, synthetic_root: Path, options: tuple[str, ...]) -> None:
    refused(admlops("run", "GroundPlane", "--data", synthetic_root, *options, check=False), options[0].strip("-"))


def test_an_image_that_cannot_be_read_costs_its_sample_only(
    admlops: Admlops, own_root: Path, tmp_path: Path, groundplane_environment: Environment
) -> None:
    image = min((own_root / "samples" / "CAM_FRONT").iterdir())
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[: len(content) // 50])
    completed = admlops("run", "GroundPlane", "--data", own_root, "--run", "broken", check=False)
    refused(completed, image.name, "(data)")
    records = [
        json.loads(line)
        for path in (tmp_path / "repository" / "runs" / "broken" / "records").iterdir()
        for line in path.read_text().splitlines()
    ]
    assert len(records) == 8
    (failed,) = (record["metadata"] for record in records if record["metadata"]["status"] == "failed")
    assert failed["failure"]["class"] == "data"


def test_a_calibration_of_zeros_is_named(
    admlops: Admlops, own_root: Path, groundplane_environment: Environment
) -> None:
    edit_table(
        own_root,
        "calibrated_sensor",
        lambda rows: [row.update(camera_intrinsic=[[0] * 3] * 3) for row in rows if row["camera_intrinsic"]],
    )
    refused(admlops("run", "GroundPlane", "--data", own_root, "--limit", "1", check=False), "(data)", "CAM_")


def test_a_broken_model_toml(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    root = find_layout().root
    own = tmp_path / "checkout"
    own.mkdir()
    shutil.copytree(root / "envs", own / "envs", ignore=shutil.ignore_patterns("__pycache__"))
    (own / "runners").symlink_to(root / "runners")
    toml = own / "envs" / "GroundPlane" / "model.toml"
    text = toml.read_text()
    for broken, word in ((text[:200], "model.toml"), (re.sub(r"(?m)^temporal = .*$", "", text), "temporal")):
        toml.write_text(broken)
        completed = admlops(
            "run", "GroundPlane", "--data", synthetic_root, check=False, variables={"ADMLOPS_PATH": str(own)}
        )
        refused(completed, str(toml), word)


def test_a_lock_whose_hash_does_not_match(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    root = find_layout().root
    own = tmp_path / "checkout"
    own.mkdir()
    shutil.copytree(root / "envs", own / "envs", ignore=shutil.ignore_patterns("__pycache__"))
    (own / "runners").symlink_to(root / "runners")
    lock = own / "envs" / "GroundPlane" / "modern" / "requirements.txt"
    lock.write_text(lock.read_text().replace("--hash=sha256:", "--hash=sha256:0000", 1))
    variables = {"ADMLOPS_PATH": str(own), "ADMLOPS_ENVIRONMENTS": str(tmp_path / "environments")}
    refused(admlops("run", "GroundPlane", "--data", synthetic_root, check=False, variables=variables), str(lock))
    lock.write_text((root / "envs/GroundPlane/modern/requirements.txt").read_text())
    text = lock.read_text()
    for digit in "0123456789abcdef":
        text = text.replace(f"--hash=sha256:{digit}", "--hash=sha256:" + ("0" if digit != "0" else "1"))
    lock.write_text(text)
    refused(
        admlops("run", "GroundPlane", "--data", synthetic_root, check=False, variables=variables), "hash", str(lock)
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", mount], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs root and the right to mount a tmpfs, to fill a small disk")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.full
def test_a_full_results_disk_leaves_a_run_that_resumes(
    admlops: Admlops, synthetic_root: Path, small_disk: Path, groundplane_environment: Environment
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * 150_000)
    run = ("run", "GroundPlane", "--data", synthetic_root, "--run", "full")
    variables = {"ADMLOPS_REP_PATH": str(small_disk)}
    refused(admlops(*run, check=False, variables=variables), "No space left", "ADMLOPS_REP_PATH")
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    if (small_disk / "runs" / "full" / "run.json").exists():
        admlops(*run, "--resume", variables=variables)
    else:
        admlops(*run, variables=variables)


def test_a_read_only_results_folder(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    mount = tmp_path / "readonly"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", mount], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs root and the right to mount a read-only tmpfs")
    try:
        variables = {"ADMLOPS_REP_PATH": str(mount)}
        completed = admlops("run", "GroundPlane", "--data", synthetic_root, check=False, variables=variables)
        refused(completed, "Read-only", "ADMLOPS_REP_PATH")
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_two_runs_into_one_folder(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path, groundplane_environment: Environment
) -> None:
    command = ("run", "GroundPlane", "--data", synthetic_root, "--run", "one")
    environment = {**os.environ, "ADMLOPS_REP_PATH": str(tmp_path / "repository")}
    first = subprocess.Popen(
        [sys.executable, "-m", "admlops", *map(str, command)], env=environment, stderr=subprocess.DEVNULL
    )
    run_json = tmp_path / "repository" / "runs" / "one" / "run.json"
    while not run_json.exists() and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # so that it is not done before the others come
    refused(admlops(*command, check=False), "one")
    refused(admlops(*command, "--resume", check=False), "in use by another process")
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=200) == 0
    refused(admlops(*command, check=False), "already holds a run", "--resume")


def test_a_run_folder_from_a_newer_schema(
    admlops: Admlops, synthetic_root: Path, tmp_path: Path, groundplane_environment: Environment
) -> None:
    admlops("run", "GroundPlane", "--data", synthetic_root, "--run", "new", "--limit", "1")
    run_json = tmp_path / "repository" / "runs" / "new" / "run.json"
    header = json.loads(run_json.read_text())
    run_json.write_text(json.dumps({**header, "schema": 99}))
    for command in (("evaluate", "new"), ("results", "show", "new"), ("report", "new")):
        refused(admlops(*command, check=False), "schema 99", "git pull")
    assert json.loads(run_json.read_text())["schema"] == 99


def test_a_comparison_that_cannot_be_written_is_named(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "comparison"
    completed = admlops("compare", "--models", "MapTR", "--data", synthetic_root, "--out", out, check=False)
    refused(completed, str(out))


@pytest.mark.parametrize("command", [("results", "index"), ("serve",)])
@pytest.mark.parametrize("address", ["postgresql//host/name", "postgres:/host/name", "runs.sqlite3"])
def test_a_mistyped_address_of_a_database_becomes_no_file(
    admlops: Admlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(admlops(*command, "--database", address, check=False), "--database", "neither an address")
    assert list(tmp_path.iterdir()) == []
