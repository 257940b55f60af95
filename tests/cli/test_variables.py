"""Variables and streams of pods: general ones that other software needs, missing homes, closed or full outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.conftest import Admlops

from admlops.cli.main import _ensure_home
from admlops.cli.quantities import GpuMemory, read_level

pytestmark = pytest.mark.real_start


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("WARN", "warning"),
        ("TRACE", "debug"),
        ("20", "info"),
        ("10", "debug"),
        ("0", "debug"),
        ("50", "error"),
        ("critical", "error"),
        (" Info ", "info"),
        ("loud", None),
    ],
)
def test_levels_of_other_software_are_taken_as_the_nearest(text: str, level: str | None) -> None:
    assert read_level(text) == level


@pytest.mark.parametrize(
    ("text", "megabytes", "share"),
    [
        ("2048", 2048, None),
        ("20GB", 20000, None),
        ("20 gb", 20000, None),
        ("20G", 20000, None),
        ("20GiB", 20 * 1073.741824, None),
        ("512MiB", 512 * 1.048576, None),
        ("1.5TB", 1.5e6, None),
        ("80%", None, 0.8),
        ("100 %", None, 1.0),
    ],
)
def test_sizes_of_memory(text: str, megabytes: float | None, share: float | None) -> None:
    limit = GpuMemory().convert(text, None, None)
    assert limit.share == share
    assert (limit.megabytes is None) == (megabytes is None)
    if megabytes is not None:
        assert limit.megabytes == pytest.approx(megabytes)


@pytest.mark.parametrize("text", ["0", "-1", "much", "120%", "20XB", "", "nan"])
def test_no_size_of_memory(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size of memory: write 20480"):
        GpuMemory().convert(text, None, None)


@pytest.mark.parametrize(("level", "said"), [("WARN", ""), ("20", ""), ("loud", "LOG_LEVEL=loud is not one of")])
def test_a_level_of_the_pod_stops_no_command(admlops: Admlops, level: str, said: str) -> None:
    done = admlops("models", "list", variables={"LOG_LEVEL": level})
    assert "GroundPlane" in done.stdout
    assert said in done.stderr


def test_a_level_that_is_typed_wrong_is_a_mistake(admlops: Admlops) -> None:
    done = admlops("--log-level", "loud", "models", "list", check=False)
    assert done.returncode == 2
    assert "loud" in done.stderr


def test_a_full_disk_behind_the_output_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "admlops", "models", "list"],
        stdout=Path("/dev/full").open("w"),  # noqa: SIM115
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(("closed", "code"), [(">&-", 2), ("2>&-", 0), ("<&-", 0)])
def test_closed_streams_are_no_crash(closed: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m admlops models list {closed}'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if closed == ">&-":
        assert "standard output cannot be written: Bad file descriptor" in done.stderr
    else:
        assert "GroundPlane" in done.stdout


def test_an_encoding_without_our_signs_is_no_crash(admlops: Admlops) -> None:
    shown = admlops("run", "--help", variables={"PYTHONIOENCODING": "latin-1"})
    assert "Example" in shown.stdout
    said = admlops("run", "GroundPlane", "--data", "/nowhere", check=False, variables={"PYTHONIOENCODING": "ascii"})
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


def test_a_user_without_a_home_or_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME")
    with pytest.raises(RuntimeError):
        Path.home()
    _ensure_home()
    assert Path.home().is_dir()


COMMANDS = [("data", "check"), ("results", "show"), ("doctor",), ("run", "GroundPlane", "--data")]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    # Root without these two capabilities is held to the permissions as anyone else is.
    bound = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*bound, sys.executable, "-m", "admlops", *words, str(locked / "d")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ADMLOPS_REP_PATH": str(tmp_path / "repository")},
    )
    if "setpriv" in done.stderr:
        pytest.skip("needs the right to drop capabilities")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2, done.stdout + done.stderr
    assert str(locked) in done.stderr
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_name_that_is_too_long_is_one_sentence(admlops: Admlops, words: tuple[str, ...]) -> None:
    done = admlops(*words, "/tmp/" + "a" * 300, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
