"""How fast the JPEG decoders of an interpreter are, and which of them give equal pixels.

    PATH/python benchmarks/decoders.py DIR   # a folder of JPEGs

It prints JSON: milliseconds of processor time a picture, and the decoders whose pixels are the same, bit for bit. Only
such a decoder may take an adapter's place.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3


def list_decoders() -> dict[str, Callable[[bytes], Any]]:
    """Return the decoders that are here; each gives RGB, (height, width, 3), 8 bits."""
    found: dict[str, Callable[[bytes], Any]] = {}
    try:
        from PIL import Image

        found["Pillow"] = lambda content: np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except ImportError:
        pass
    try:
        import cv2

        cv2.setNumThreads(1)
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        found["OpenCV"] = lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), flags)[..., ::-1]
    except ImportError:
        pass
    try:
        import simplejpeg

        for name, fast in (("libjpeg-turbo", False), ("libjpeg-turbo, its fast ways", True)):
            found[name] = lambda content, fast=fast: simplejpeg.decode_jpeg(  # type: ignore[misc]
                content, fastdct=fast, fastupsample=fast
            )
    except ImportError:
        pass
    return found


def main() -> int:
    """Measure by turns and print."""
    contents = [file.read_bytes() for file in sorted(Path(sys.argv[1]).glob("*.jpg"))]
    decoders = list_decoders()
    pixels = {name: [decode(content) for content in contents] for name, decode in decoders.items()}
    times: dict[str, list] = {name: [] for name in decoders}  # type: ignore[type-arg]
    for _ in range(ROUNDS):
        for name, decode in decoders.items():
            begun = time.process_time()
            for content in contents:
                decode(content)
            times[name].append((time.process_time() - begun) / len(contents))
    result = {
        name: {
            "ms": 1e3 * min(times[name]),
            "equal_to": [other for other in decoders if other != name and all(map(np.array_equal, own, pixels[other]))],
        }
        for name, own in pixels.items()
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
