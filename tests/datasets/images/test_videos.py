"""A video is a scene: frames by ffmpeg, or what to install."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops
from tests.datasets.images.fabricate import draw
from tests.venvs import make_venv

from admlops.core.errors import DataError
from admlops.core.processes import run
from admlops.datasets.base import IMAGE, open_data

SECONDS, FPS = 3, 10


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real program, out of a wheel that holds it, first on PATH."""
    bins = make_venv(tmp_path / "venv", "imageio-ffmpeg")
    script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
    program = Path(run([bins / "python", "-c", script], timeout_s=60).stdout.strip())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return program


def film(ffmpeg: Path, target: Path) -> None:
    """Write a film that grows brighter from frame to frame."""
    frames = target.parent.parent / "frames"
    frames.mkdir()
    for number in range(SECONDS * FPS):
        grey = np.full((48, 64, 3), 8 * number, dtype=np.uint8)
        Image.fromarray(grey).save(frames / f"{number:03d}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [ffmpeg, "-v", "error", "-framerate", str(FPS), "-i", frames / "%03d.png", target]
    done = run(command, timeout_s=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.full
def test_a_video_is_a_scene(tmp_path: Path, ffmpeg: Path) -> None:
    film(ffmpeg, tmp_path / "data" / "my drive.mp4")
    draw(tmp_path / "data" / "a.jpg")
    data = open_data(tmp_path / "data")
    scenes = {scene.name: scene.samples for scene in data.scenes()}
    assert {name: len(samples) for name, samples in scenes.items()} == {"pictures": 1, "my drive.mp4": 2 * SECONDS}
    frames = [data.sample(token) for token in scenes["my drive.mp4"]]
    assert [frame["timestamp_us"] for frame in frames] == [500_000 * number for number in range(2 * SECONDS)]
    cameras = [frame["cameras"][IMAGE] for frame in frames]
    assert {(camera["width"], camera["height"]) for camera in cameras} == {(64, 48)}
    means = [float(np.asarray(Image.open(camera["path"])).mean()) for camera in cameras]
    assert means == sorted(means)
    assert means[-1] - means[0] > 100
    again = open_data(tmp_path / "data" / "my drive.mp4")
    assert again.scenes()[0].samples == scenes["my drive.mp4"], "the file alone gives the same samples"


@pytest.mark.full
@pytest.mark.usefixtures("ffmpeg")
def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match="ffmpeg takes no frames out of"):
        open_data(tmp_path / "data").scenes()
    assert not list((tmp_path / "repository").rglob("*.png"))


def test_without_ffmpeg_it_is_told_what_to_install(tmp_path: Path, admlops: Admlops) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.mp4").write_bytes(b"a video")
    done = admlops("data", "check", str(tmp_path / "data"), check=False, variables={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "ffmpeg, which takes frames out of it, is not installed" in done.stderr
    assert "apt-get install -y ffmpeg" in done.stderr
