"""A job's program: one camera's picture with each fault at each level, small, for a page.

The request has `sample` (as a scene job has it, with absolute paths), `camera`, `faults` (as in a load frame) and
`width` [pixels]. The answer maps each fault's label, and `clean`, to the picture as base64 of a JPEG.
"""

import base64
from typing import Any, Dict

from .adapter import Adapter, Settings
from .corruptions import pictures
from .corruptions.adapter import read_bgr
from .corruptions.fault import read_fault
from .mmlab.common.libraries import load_library

QUALITY = 80


def run(adapter: Adapter, settings: Settings, request: Dict[str, Any]) -> Dict[str, Any]:
    """Return the pictures. Raises DataError: the camera's picture cannot be read."""
    pictures.load_libraries()
    sample, camera, width = request["sample"], request["camera"], int(request["width"])
    clean = read_bgr(sample["cameras"][camera]["path"])
    found = {"clean": _encode(clean, width)}
    for one in request["faults"]:
        fault = read_fault(one)
        names = sorted(sample["cameras"])
        worse = pictures.corrupt_picture(clean, fault, sample=sample["sample_token"], camera=camera, cameras=names)
        found[fault.label] = _encode(worse, width)
    return {"pictures": found}


def _encode(picture: Any, width: int) -> str:
    cv2 = load_library("cv2")
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return base64.b64encode(content.tobytes()).decode("ascii")
