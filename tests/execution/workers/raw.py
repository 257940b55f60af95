"""A worker without our code on its side: it breaks the protocol as the variable BEHAVIOUR says."""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable


def frame(kind: int, message: object) -> bytes:
    payload = json.dumps(message).encode()
    return struct.pack(">4sBI", b"ADM1", kind, len(payload)) + payload


HELLO = {"protocol": 1, "model": "StandIn", "python": "3.8", "adapter": "raw.py", "libraries": {}, "digest": "0"}
RESULT = {"sample_token": "a-0", "inference_time": 0, "end_to_end_time": 0, "gpu_memory_used": None, "outputs": {}}


def read_frame(descriptor: int) -> None:
    _, _, length = struct.unpack(">4sBI", os.read(descriptor, 9))
    while length:
        length -= len(os.read(descriptor, length))


def serve(read_fd: int, write_fd: int) -> None:
    """Say hello, load, take the first scene."""
    os.write(write_fd, frame(1, HELLO))
    read_frame(read_fd)
    os.write(write_fd, frame(3, {"fixes": [], "device_name": "cpu"}))
    read_frame(read_fd)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--read-fd", type=int)
    parser.add_argument("--write-fd", type=int)
    options = parser.parse_args()
    read_fd, write_fd = options.read_fd, options.write_fd
    behaviour = os.environ["BEHAVIOUR"]
    if behaviour == "exit_at_once":
        return
    if behaviour == "import_error":
        import no_such_module_anywhere  # type: ignore[import-not-found]  # noqa: F401
    if behaviour == "syntax_error":
        exec(compile("def broken(:\n    pass\n", __file__, "exec"))  # as an import of such a file would
    if behaviour == "nothing":
        time.sleep(600)
    if behaviour == "old_protocol":
        os.write(write_fd, frame(1, dict(HELLO, protocol=0)))
    elif behaviour == "another_model":
        os.write(write_fd, frame(1, dict(HELLO, model="Other")))
    elif behaviour == "garbage":
        os.write(write_fd, b"Loading checkpoint shards: 100%\n")
    elif behaviour == "result_first":
        os.write(write_fd, frame(5, RESULT))
    else:
        serve(read_fd, write_fd)
        SPEECHES[behaviour](write_fd)
    time.sleep(600)


def half_frame_and_exit(write_fd: int) -> None:
    os.write(write_fd, frame(5, RESULT)[:40])
    sys.exit(0)


def half_frame_and_die(write_fd: int) -> None:
    os.write(write_fd, frame(5, RESULT)[:40])
    os.kill(os.getpid(), signal.SIGKILL)


def send_50_megabytes(write_fd: int) -> None:
    os.write(write_fd, struct.pack(">4sBI", b"ADM1", 5, 50 << 20))
    while True:
        os.write(write_fd, b" " * 65536)


SPEECHES: dict[str, Callable[[int], object]] = {
    "half_frame": lambda fd: os.write(fd, frame(5, RESULT)[:40]),
    "half_frame_and_exit": half_frame_and_exit,
    "half_frame_and_die": half_frame_and_die,
    "50_megabytes": send_50_megabytes,
    "unknown_kind": lambda fd: os.write(fd, frame(77, {})),
    "host_kind": lambda fd: os.write(fd, frame(2, {})),
    "not_json": lambda fd: os.write(fd, struct.pack(">4sBI", b"ADM1", 5, 3) + b"{{{"),
    "nan": lambda fd: os.write(fd, frame(5, dict(RESULT, inference_time=float("nan")))),
    "negative_time": lambda fd: os.write(fd, frame(5, dict(RESULT, inference_time=-1.0))),
    "missing_field": lambda fd: os.write(fd, frame(5, {"sample_token": "a-0"})),
    "early_scene_done": lambda fd: os.write(fd, frame(7, {"scene": "a", "samples": 0})),
    "close": lambda fd: os.close(fd),
}

if __name__ == "__main__":
    main()
