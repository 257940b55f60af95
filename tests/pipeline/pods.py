"""Pods for tests: a checkout with a temporal stand-in model, data and runs at paths of their own, pretended GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from admlops.core.paths import find_layout
from admlops.results.run_folder import RunFolder

MODEL = """
name = "Chain"
summary = "Boxes that depend on every sample of the scene before"
tasks = ["detection_3d"]
license = "Apache-2.0"
frame = "ego"
box_convention = "standard"
temporal = {temporal}
default_variant = "modern"

[source]
kind = "embedded"

[variants.modern]
python = ">=3.11,<3.12"
backends = ["venv"]
requirements = "modern/requirements.txt"

[classes]
detection_3d = ["car"]

[options.name]
description = "the class of every box"
values = ["car", "cars"]

[options.pause]
description = "seconds for each sample"
values = ["1", "0.3", "0"]
"""

ADAPTER = """
import hashlib, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Adapter, DataError
from worker.main import main


class Chain(Adapter):
    name = "Chain"

    def load(self, settings):
        print("device", settings.device, flush=True)
        self.options = dict(settings.options)
        self.history = ""
        return []

    def start_scene(self, scene):
        self.history = scene

    def prepare(self, sample):
        path = Path(sample["cameras"]["CAM_FRONT"]["path"])
        if not path.is_file():
            raise DataError("{} is missing".format(path))
        return path.read_bytes()

    def forward(self, image):
        time.sleep(float(self.options.get("pause", 0)))
        self.history = hashlib.sha256(self.history.encode() + image).hexdigest()
        return int(self.history[:6], 16) / 0xFFFFFF

    def convert(self, raw, sample):
        box = {"center": [raw * 50, 1.0, 0.5], "size_wlh": [1.9, 4.5, 1.6], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
        name = self.options.get("name", "car")
        return {"detections_3d": [{"id": 0, "class_name": name, "confidence": raw, "bbox_3d": box}]}


if __name__ == "__main__":
    sys.exit(main(Chain))
"""

NVML = '''"""The driver's library of a machine with GPUs that the variable PRETENDED_GPUS names, with commas between."""

import os
from types import SimpleNamespace

NAMES = [name for name in os.environ.get("PRETENDED_GPUS", "").split(",") if name]


class NVMLError(Exception):
    pass


def __getattr__(name):
    if not name.startswith("nvml"):
        raise AttributeError(name)

    def ask(*_):
        raise NVMLError("Not Supported")

    return ask


def nvmlInit():
    if not NAMES:
        raise NVMLError("NVML Shared Library Not Found")


def nvmlDeviceGetCount():
    return len(NAMES)


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetName(handle):
    return NAMES[handle]


def nvmlDeviceGetUUID(handle):
    return "GPU-{:08d}".format(handle)


def nvmlDeviceGetMemoryInfo(handle):
    return SimpleNamespace(total=80e9, used=1e9)


def nvmlDeviceGetCudaComputeCapability(handle):
    return 9, 0
'''


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One machine's paths, and the GPUs that its driver names."""

    folder: Path
    gpus: tuple[str, ...] = ()

    @classmethod
    def make(cls, folder: Path, *, data: Path, gpus: tuple[str, ...] = (), temporal: bool = True) -> Pod:
        """A pod below `folder` with a copy of a data set."""
        envs = folder / "checkout" / "envs" / "Chain"
        (envs / "modern").mkdir(parents=True)
        (folder / "checkout" / "runners").symlink_to(find_layout().root / "runners")
        (envs / "model.toml").write_text(MODEL.format(temporal=str(temporal).lower()))
        (envs / "demo.py").write_text(ADAPTER)
        (envs / "modern" / "requirements.txt").write_text("# no packages\n")
        (folder / "nvml").mkdir()
        (folder / "nvml" / "pynvml.py").write_text(NVML)
        shutil.copytree(data, folder / "data", copy_function=os.link)
        return cls(folder=folder, gpus=gpus)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of its commands."""
        return {
            **{name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
            "ADMLOPS_PATH": str(self.folder / "checkout"),
            "ADMLOPS_REP_PATH": str(self.folder / "repository"),
            "ADMLOPS_ENVIRONMENTS": str(self.folder.parent / "environments"),
            "PRETENDED_GPUS": ",".join(self.gpus),
            "PYTHONPATH": str(self.folder / "nvml"),
        }

    def command(self, *arguments: str | Path) -> list[str]:
        """The words of `admlops` with these arguments."""
        return [sys.executable, "-m", "admlops", *map(str, arguments)]

    def type(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `admlops` there."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.variables, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def run(self, name: str) -> RunFolder:
        """A run in its repository."""
        return RunFolder.open(self.folder / "repository" / "runs" / name)

    def take_over(self, other: Pod, name: str) -> None:
        """Bring a run of another pod here."""
        target = self.folder / "repository" / "runs" / name
        shutil.copytree(other.folder / "repository" / "runs" / name, target)
