"""Stand-in models for tests of many workers on one machine: they take real memory, sleep or compute, and share a card.

The card is a folder: a file a process, with the megabytes that it took. Beyond the card's size a worker gets CUDA's own
words; the pretended NVML of the pod reads the same folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from tests.pipeline.pods import MODEL, NVML, Pod

ADAPTER = """
import fcntl, hashlib, json, os, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Adapter
from worker.main import main

TRAITS = json.loads({traits!r})
CARD = Path({card!r})


def taken_mb():
    found = 0
    for file in CARD.glob("*.mb"):
        try:
            found += int(file.read_text()) if Path("/proc", file.stem).exists() else 0
        except (OSError, ValueError):
            pass
    return found


class Member(Adapter):
    name = TRAITS["name"]

    def load(self, settings):
        self.block = b"x" * int(TRAITS["host_mb"] * 1e6)
        self.on_card = settings.device.startswith("cuda")
        self.shrink = settings.shrink
        self.take(TRAITS["card_mb"])
        return []

    def take(self, megabytes):
        if not self.on_card:
            return
        own = CARD / "{{}}.mb".format(os.getpid())
        own.write_text(str(megabytes))
        if taken_mb() > TRAITS["card_size_mb"]:
            own.unlink()
            raise RuntimeError("CUDA out of memory. Tried to allocate {{}} MB".format(megabytes))

    def start_scene(self, scene):
        self.history = scene

    def prepare(self, sample):
        return Path(sample["cameras"]["CAM_FRONT"]["path"]).read_bytes()

    def forward(self, image):
        if TRAITS["later_mb"] and not self.history.startswith(TRAITS["first_scene"]):
            self.take(TRAITS["later_mb"])
        if TRAITS["holds"]:
            with (CARD / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                time.sleep(TRAITS["sleep_s"])
        else:
            time.sleep(TRAITS["sleep_s"])
        until = time.process_time() + TRAITS["busy_s"]
        while time.process_time() < until:
            pass
        self.history = self.history[:10] + hashlib.sha256(self.history.encode() + image).hexdigest()
        return int(self.history[-6:], 16) / 0xFFFFFF

    def convert(self, raw, sample):
        box = {{"center": [raw * 50, 1.0 + self.shrink, 0.5], "size_wlh": [1.9, 4.5, 1.6],
               "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}}
        return {{"detections_3d": [{{"id": 0, "class_name": "car", "confidence": raw, "bbox_3d": box}}]}}


if __name__ == "__main__":
    sys.exit(main(Member))
"""

CARD_NVML = """

from pathlib import Path

CARD = Path({card!r})


def nvmlDeviceGetMemoryInfo(handle):
    taken = 0
    for file in CARD.glob("*.mb"):
        try:
            taken += int(file.read_text()) if Path("/proc", file.stem).exists() else 0
        except (OSError, ValueError):
            pass
    return SimpleNamespace(total={size} * 1e6, used=500e6 + taken * 1e6)
"""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A stand-in: what it takes at the start, and of the card from its second scene on; how it spends its time.

    One that `holds` lets no other worker of the machine begin a sample before its own is done, as a full card would.
    """

    name: str
    host_mb: float = 30
    card_mb: int = 1000
    later_mb: int = 0
    sleep_s: float = 0.0
    busy_s: float = 0.0
    holds: bool = False


def make_crowd(
    folder: Path, data: Path, members: list[Member], *, gpus: tuple[str, ...] = (), card_mb: int = 24000
) -> Pod:
    """A pod with these models, and a card of `card_mb` that they share."""
    pod = Pod.make(folder, data=data, gpus=gpus)
    card = folder / "card"
    card.mkdir()
    (folder / "nvml" / "pynvml.py").write_text(NVML + CARD_NVML.format(card=str(card), size=card_mb))
    for member in members:
        import json

        envs = folder / "checkout" / "envs" / member.name
        (envs / "modern").mkdir(parents=True)
        text = MODEL.format(temporal="true").replace('name = "Chain"', f'name = "{member.name}"', 1)
        (envs / "model.toml").write_text(text)
        traits = {**asdict(member), "card_size_mb": card_mb - 500, "first_scene": first_scene(data)}
        (envs / "demo.py").write_text(ADAPTER.format(traits=json.dumps(traits), card=str(card)))
        (envs / "modern" / "requirements.txt").write_text("# no packages\n")
    return pod


def first_scene(data: Path) -> str:
    """The scene that a run does first."""
    from admlops.datasets.base import open_data
    from admlops.pipeline.selection import Selection, select

    scenes = select(open_data(data, None, wanted=["nuscenes"]), Selection(split="mini_val"))
    return scenes[0].name
