"""An adapter that sees its sensors with a fault: whatever reads the files, it reads the worse ones.

Before each sample is prepared its pictures are read, made worse and laid in memory, and the adapter gets their paths
there. Nothing is stored: a picture is an uncompressed file in memory (`memfd_create`) that is gone when the sample is
prepared. Earlier pictures in a sample's `context` stay whole, as in RoboBEV, whose sweeps are not worse either; earlier
sweeps of the LiDAR have the fault too.
"""

import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping

from ..adapter import Adapter
from ..mmlab.common.libraries import load_library
from ..samples.errors import DataError
from . import pictures
from .fault import LIDAR, PICTURES, Fault, read_fault
from .points import corrupt_sweep

ENDING = ".bmp"


class FaultyAdapter:
    """The loaded `adapter` with a fault before it. All but preparing is the adapter's own."""

    def __init__(self, adapter: Adapter, fault: Fault) -> None:
        self._adapter = adapter
        self._fault = fault
        if fault.name in PICTURES:
            pictures.load_libraries()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def reads_apart(self) -> bool:
        """Tell whether other processes may read for it: no, for they would read the files as they are."""
        return False

    def prepare(self, sample: Dict[str, Any]) -> Any:
        """Prepare the sample as it looks with the fault. Raises as the adapter, and DataError for a damaged file."""
        with see(sample, self._fault) as seen:
            return self._adapter.prepare(seen)


def make_faulty(adapter: Adapter, described: Dict[str, Any]) -> Any:
    """Return the loaded adapter with the fault that a run's settings describe. The host itself does those of the rig.

    Raises:
        FaultError: the fault is another version's.
    """
    return FaultyAdapter(adapter, read_fault(described))


@contextmanager
def see(sample: Mapping[str, Any], fault: Fault) -> Iterator[Dict[str, Any]]:
    """Give the sample with paths of files in memory that have the fault; they are gone afterwards."""
    held = []  # type: List[int]
    seen = dict(sample)
    try:
        if fault.name in PICTURES:
            names = sorted(sample["cameras"])
            seen["cameras"] = {
                name: dict(camera, path=_hold(_picture(name, camera, sample, fault, names), held))
                for name, camera in sample["cameras"].items()
            }
        elif fault.name in LIDAR and "lidar" in sample:
            seen["lidar"] = _worse_sweep(sample["lidar"], fault, held)
            context = sample.get("context") or {}
            if context.get("lidar_sweeps"):
                earlier = [_worse_sweep(one, fault, held) for one in context["lidar_sweeps"]]
                seen["context"] = dict(context, lidar_sweeps=earlier)
        yield seen
    finally:
        for descriptor in held:
            os.close(descriptor)


def _picture(name: str, camera: Mapping[str, Any], sample: Mapping[str, Any], fault: Fault, names: List[str]) -> bytes:
    """The content of an uncompressed picture file."""
    picture = read_bgr(camera["path"])
    worse = pictures.corrupt_picture(picture, fault, sample=sample["sample_token"], camera=name, cameras=names)
    done, encoded = load_library("cv2").imencode(ENDING, worse)
    if not done:
        raise DataError("the image {} cannot be encoded again".format(camera["path"]))
    return bytes(encoded.tobytes())


def read_bgr(path: str) -> Any:
    """Return a picture, (H, W, 3), B, G, R of 8 bits, as its pixels lie in the file. Raises DataError naming it."""
    cv2, np = load_library("cv2"), load_library("numpy")
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError("the image {} cannot be read: {}".format(path, error.strerror or error)) from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if picture is None:
        raise DataError("the image {} is not a whole picture".format(path))
    return picture


def _worse_sweep(lidar: Mapping[str, Any], fault: Fault, held: List[int]) -> Dict[str, Any]:
    """A sweep with the fault, drawn by its file's name: the same whether it is the sample's own or an earlier one."""
    path = lidar["path"]
    try:
        with open(path, "rb") as file:
            content = corrupt_sweep(file.read(), fault, sweep=os.path.basename(path))
        return dict(lidar, path=_hold(content, held))
    except (OSError, ValueError) as error:
        raise DataError("the sweep {} cannot be read: {}".format(path, error)) from error


def _hold(content: bytes, held: List[int]) -> str:
    """Lay a file in memory and return its path in this process."""
    descriptor = os.memfd_create("admlops", 0)
    held.append(descriptor)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return "/proc/self/fd/{}".format(descriptor)
