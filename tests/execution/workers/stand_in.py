# ruff: noqa: UP006  adapters run under Python 3.8
"""A stand-in model whose behaviour at one sample is chosen by its options. Its outputs depend on the samples before.

Options: `behaviour` at sample `at`; `once`, a path that is made the first time, so that a second try goes well; `on`,
the one device on which it does so.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "runners"))

from worker.adapter import Adapter, DataError, Settings
from worker.main import main


class StandIn(Adapter):
    """Counts the samples of the scene, so that one done out of order or twice gives another record."""

    name = "StandIn"

    def load(self, settings: Settings) -> List[str]:
        self.settings = settings
        self.options = dict(settings.options)
        self.history = ""
        if self.options.get("cgroup"):
            Path(self.options["cgroup"], "cgroup.procs").write_text(str(os.getpid()))
        self.misbehave("load")
        return ["steady"]

    def start_scene(self, scene: str) -> None:
        self.history = scene
        self.misbehave("start_scene")

    def prepare(self, sample: Dict[str, Any]) -> Any:
        if self.is_due(sample["sample_token"]) and self.options["behaviour"] == "data":
            raise DataError("/data/{}.jpg cannot be read".format(sample["sample_token"]))
        return sample

    def forward(self, inputs: Any) -> Any:
        time.sleep(self.options.get("pause_s", 0.0))
        self.history = hashlib.sha256((self.history + inputs["sample_token"]).encode()).hexdigest()
        return int(self.history[:6], 16) / 0xFFFFFF

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        box = {
            "id": 0,
            "class_name": "car",
            "confidence": raw,
            "bbox_3d": {
                "center": [raw * 50, 1.0, 0.5],
                "size_wlh": [1.9, 4.5, 1.6],
                "rotation_wxyz": [1.0, 0.0, 0.0, 0.0],
            },
        }
        outputs = {"detections_3d": [box]}
        if self.is_due(sample["sample_token"]):
            self.misbehave(sample["sample_token"], outputs, sample)
        return outputs

    def is_due(self, where: str) -> bool:
        at = self.options.get("at")
        return bool(at == where or (isinstance(at, list) and where in at))

    def misbehave(self, where: str, outputs: Any = None, sample: Any = None) -> None:
        """Do what the options ask for, if this is the place."""
        if not self.is_due(where) or self.options["behaviour"] == "data":
            return
        if self.options.get("on", self.settings.device) != self.settings.device:
            return
        once = self.options.get("once")
        if once:
            if Path(once).exists():
                return
            Path(once).touch()
        BEHAVIOURS[self.options["behaviour"]](self, outputs, sample)


def flood(model: StandIn, outputs: Any, sample: Any) -> None:
    block = b"x" * 99 + b"\n"
    for _ in range(100):
        os.write(2, block * 10000)


def chatter(model: StandIn, outputs: Any, sample: Any) -> None:
    print("ADM1 this is not a frame")
    os.write(1, b"ADM1\x05\x00\x00\x00\x02{}")
    subprocess.run(["echo", "a child speaks"], check=True)


def breed(model: StandIn, outputs: Any, sample: Any) -> None:
    """Children that ignore TERM: one in the group, one in a session of its own, one forked twice."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
    )
    for own_session in (False, True):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=own_session, close_fds=True
        )
        assert child.stdout is not None
        child.stdout.readline()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        os._exit(0)
    os.wait()


def breed_and_hang(model: StandIn, outputs: Any, sample: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    breed(model, outputs, sample)
    time.sleep(600)


def eat(model: StandIn, outputs: Any, sample: Any) -> None:
    """Touch ever more memory until the kernel ends it."""
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 16)) * 64)


def exit_3(model: StandIn, outputs: Any, sample: Any) -> None:
    sys.stderr.write("Traceback (most recent call last):\n  the last words\n")
    raise SystemExit(3)


def run_out_of_gpu(model: StandIn, outputs: Any, sample: Any) -> None:
    if model.settings.shrink < model.options.get("fits_at", 99):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 79.15 GiB total capacity)")


def spin(model: StandIn, outputs: Any, sample: Any) -> None:
    """Compute for longer than a call may take."""
    until = time.monotonic() + float(model.options.get("spin_s", 600))
    while time.monotonic() < until:
        hashlib.sha256(b"x" * 100000)


def raiser(error: BaseException) -> Callable[[StandIn, Any, Any], None]:
    def fail(model: StandIn, outputs: Any, sample: Any) -> None:
        raise error

    return fail


def killer(number: int) -> Callable[[StandIn, Any, Any], None]:
    def kill(model: StandIn, outputs: Any, sample: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(600)

    return kill


def hold_the_interpreter(model: StandIn, outputs: Any, sample: Any) -> None:
    """A C call that keeps the interpreter to itself: not even `alive` gets out."""
    ctypes.PyDLL(None).sleep(600)


BEHAVIOURS: Dict[str, Callable[..., None]] = {
    "flood": flood,
    "chatter": chatter,
    "breed": breed,
    "breed_and_hang": breed_and_hang,
    "eat": eat,
    "exit_3": exit_3,
    "cuda_oom": run_out_of_gpu,
    "raise": raiser(ValueError("a tensor at 0x7f0011223344 has the wrong shape")),
    "memory_error": raiser(MemoryError("Unable to allocate 40 GiB")),
    "arch": raiser(RuntimeError("CUDA error: no kernel image is available for execution on the device")),
    "poisoned": raiser(RuntimeError("CUDA error: an illegal memory access was encountered")),
    "kill": killer(signal.SIGKILL),
    "segfault": killer(signal.SIGSEGV),
    "freeze": killer(signal.SIGSTOP),
    "spin": spin,
    "sleep": lambda model, outputs, sample: time.sleep(600),
    "hold": hold_the_interpreter,
    "nan": lambda model, outputs, sample: outputs["detections_3d"][0]["bbox_3d"].update(
        center=[0.0, float("nan"), 0.0]
    ),
    "not_json": lambda model, outputs, sample: outputs.update(detections_3d=[object()]),
    "huge": lambda model, outputs, sample: outputs.update(detections_3d=["x" * (17 << 20)]),
    "unknown_field": lambda model, outputs, sample: outputs["detections_3d"][0].update(colour="red"),
    "out_of_range": lambda model, outputs, sample: outputs["detections_3d"][0].update(confidence=1.5),
    "wrong_token": lambda model, outputs, sample: sample.update(sample_token="another"),
}

if __name__ == "__main__":
    sys.exit(main(StandIn))
