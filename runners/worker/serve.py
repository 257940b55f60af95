"""The worker: serves an adapter over the wire format, for as many scenes as the host hands over.

Three threads. The main one runs the adapter and writes results. One reads requests, so that a stop or the host's death
is seen while a sample runs. One says `alive` every two seconds, which tells a long call from a frozen process.
"""

import fcntl
import gc
import hashlib
import os
import platform
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Optional, Type

from .adapter import Adapter, Settings
from .batches import BatchSize, Outcome, run_batch, takes_batches
from .corruptions.adapter import make_faulty
from .engine import open_engine, run_exported_form
from .failures import classify, describe
from .graphs import Graphs, GraphsError, record_graphs
from .in_pytorch import EXPORTED_FORM
from .measure import Step, encode_result, measure_usage, run_sample
from .parent import die_with_parent
from .precision import require
from .prefetch.preparer import PreparerDied
from .prefetch.reader import Interrupted, Reader, make_reader
from .runtimes.base import Runtime, load_runtime
from .samples.form import make_paths_absolute
from .wire import (
    ALIVE,
    BATCH,
    FAILED,
    HELLO,
    LOAD,
    PROTOCOL_VERSION,
    READY,
    RESULT,
    SCENE,
    SCENE_DONE,
    STOP,
    Frame,
    ProtocolError,
    encode_frame,
    frame_bytes,
    read_frame,
    write_all,
)

ALIVE_INTERVAL_S = 2.0
USAGE_INTERVAL_S = 0.5
"""Reading what the threads of a process took costs up to a millisecond."""
FIRST_OWN_DESCRIPTOR = 100
EXIT_FAILED = 4
"""The worker said `failed` about something that leaves it of no further use."""
EXIT_PROTOCOL = 5
FATAL = ("arch", "host_oom", "poisoned", "lost")


class Channel:
    """The two pipes. Writing is safe from any thread; a frame is never torn."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        # Out of the way of code that closes or takes over low descriptors, and closed in what the model starts.
        self._read_fd = _move(read_fd)
        self._write_fd = _move(write_fd)
        self._lock = threading.Lock()

    def send(self, kind: int, message: Dict[str, Any]) -> None:
        self.send_bytes(encode_frame(kind, message))

    def send_bytes(self, data: bytes) -> None:
        with self._lock:
            write_all(self._write_fd, data)

    def receive(self) -> Optional[Frame]:
        return read_frame(lambda size: os.read(self._read_fd, size))


class Stopped(Exception):  # noqa: N818  a request, not an error
    """The host asked the worker to end."""


class Server:
    """Runs one adapter as the host asks."""

    def __init__(self, adapter: Type[Adapter], channel: Channel) -> None:
        self._adapter = adapter()
        self._runtime = Runtime()
        self._reader = Reader(self._adapter)
        self._graphs: Optional[Graphs] = None
        self._data_root = ""
        self._asked = None  # type: Optional[Dict[str, Any]]
        self._size = BatchSize(auto=False, most=1)
        self._channel = channel
        self._requests = queue.Queue()  # type: queue.Queue[Frame]
        self._stopping = threading.Event()
        self._usage_due = 0.0

    def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        _start(self._read_requests)
        _start(self._say_alive)
        try:
            if not self._attempt(self._hello) or not self._attempt(self._load):
                return EXIT_FAILED
            while True:
                if not self._run_scene(self._next(SCENE)):
                    return EXIT_FAILED
        except Stopped:
            return 0
        finally:
            self._reader.close()

    def _attempt(self, part: Any) -> bool:
        """Run a part of the start; whatever the adapter raises there is reported."""
        try:
            part()
        except (Stopped, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001  an adapter may raise anything; the host decides what follows
            self._report(error, None, classify(error))
            return False
        return True

    def _hello(self) -> None:
        libraries = self._adapter.libraries()
        source = Path(sys.argv[0]).resolve()
        self._channel.send(
            HELLO,
            {
                "protocol": PROTOCOL_VERSION,
                "model": self._adapter.name,
                "python": platform.python_version(),
                "adapter": str(source),
                "libraries": {str(name): str(version) for name, version in libraries.items()},
                "digest": source_digest(source.parent),
            },
        )

    def _load(self) -> None:
        request = self._next(LOAD)
        settings = Settings(**{name: request[name] for name in Settings._fields if name in request})
        self._data_root = request.get("data_root") or ""
        require(self._adapter.name, self._adapter.precisions, settings.precision)
        self._runtime = load_runtime(request.get("runtime"))
        self._runtime.use_device(settings.device)
        fixes = self._adapter.load(settings) or []
        if request.get("graphs"):
            if settings.engine or settings.options.get(EXPORTED_FORM):
                raise GraphsError(
                    "{} runs as it is exported, and --graphs is for its own network".format(self._adapter.name)
                )
            self._graphs = record_graphs(self._adapter, settings)
        if settings.engine:
            self._adapter = open_engine(self._adapter, settings, self._runtime)
        elif settings.options.get(EXPORTED_FORM):
            self._adapter = run_exported_form(self._adapter)
        if request.get("corrupt"):
            self._adapter = make_faulty(self._adapter, request["corrupt"])
        self._reader = make_reader(
            self._adapter,
            int(request.get("prefetch") or 0),
            on_gpu=settings.device != "cpu",
            is_stopping=self._stopping.is_set,
        )
        # What is loaded stays: no garbage collection of a sample's leavings need look through it again.
        gc.collect()
        gc.freeze()
        self._runtime.limit_memory(settings.device, settings.gpu_memory_limit_mb)
        ready = {"fixes": list(fixes), "device_name": self._runtime.device_name(settings.device)}
        self._channel.send(READY, {**ready, "precision": self._adapter.precision()})

    def _run_scene(self, request: Dict[str, Any]) -> bool:
        """Every sample in order. False after a failure that leaves this process of no use."""
        scene, samples = request["scene"], request["samples"]
        try:
            self._adapter.start_scene(scene)
        except Exception as error:  # noqa: BLE001  as above
            self._report(error, None, classify(error))
            return False
        samples = [make_paths_absolute(sample, self._data_root) for sample in samples]
        if not self._run_samples(samples, request.get("batch")):
            return False
        self._channel.send(SCENE_DONE, {"scene": scene, "samples": len(samples)})
        return True

    def _run_samples(self, samples: List[Dict[str, Any]], batch: Optional[Dict[str, Any]]) -> bool:
        """Answer for each sample in order, one by one or in batches. False after a failure of FATAL."""
        try:
            self._reader.begin(samples)
            return self._run_in_order(samples, batch)
        except PreparerDied as error:
            self._report(error, None, error.kind)
            return False
        except Interrupted:
            raise Stopped from None

    def _run_in_order(self, samples: List[Dict[str, Any]], batch: Optional[Dict[str, Any]]) -> bool:
        if batch is not None and takes_batches(self._adapter):
            return self._run_batches(samples, batch)
        for sample in samples:
            if self._stopping.is_set():
                raise Stopped
            if self._run_sample(sample, is_last=sample is samples[-1]) in FATAL:
                return False
        return True

    def _run_batches(self, samples: List[Dict[str, Any]], batch: Dict[str, Any]) -> bool:
        """What was learned of sizes lasts from scene to scene, until the host asks for another."""
        if batch != self._asked:
            self._asked, self._size = batch, BatchSize(auto=bool(batch["auto"]), most=int(batch["most"]))
        done = 0
        while done < len(samples):
            if self._stopping.is_set():
                raise Stopped
            together = samples[done : done + self._size.current]
            for outcome in self._run_batch(together):
                done += 1
                if outcome.payload is not None:
                    self._channel.send_bytes(frame_bytes(RESULT, outcome.payload))
                    continue
                assert outcome.error is not None, "neither a result nor an error"
                self._report(outcome.error, outcome.sample["sample_token"], outcome.kind)
                if outcome.kind in FATAL:
                    return False
        return True

    def _run_batch(self, together: List[Dict[str, Any]]) -> List[Outcome]:
        return run_batch(
            self._adapter, together, self._size, self._runtime, begin=self._begin_batch, reader=self._reader
        )

    def _begin_batch(self, samples: int) -> None:
        self._channel.send(BATCH, {"samples": samples})

    def _run_sample(self, sample: Dict[str, Any], *, is_last: bool) -> Optional[str]:
        """Send the sample's result, or why there is none; returns the failure class or None.

        What the process has taken so far goes with the first result, with the last of a scene, and now and then.
        """
        step = Step()
        try:
            result = run_sample(self._adapter, sample, step, self._runtime, self._reader)
            if self._graphs is not None:
                result.update(self._graphs.finish())
            if is_last or time.monotonic() >= self._usage_due:
                self._usage_due = time.monotonic() + USAGE_INTERVAL_S
                result["usage"] = measure_usage(self._runtime)
            payload = encode_result(result)
        except Exception as error:  # noqa: BLE001  as above; SystemExit and a signal end the worker, and the host sees it
            kind = classify(error, preparing=step.preparing)
            if self._graphs is not None:
                self._graphs.forget()
            self._report(error, sample["sample_token"], kind)
            return kind
        self._channel.send_bytes(frame_bytes(RESULT, payload))
        return None

    def _report(self, error: BaseException, token: Optional[str], kind: str) -> None:
        message, trace = describe(error)
        self._channel.send(FAILED, {"sample_token": token, "class": kind, "message": message, "traceback": trace})
        sys.stderr.write(trace)
        sys.stderr.flush()

    def _next(self, kind: int) -> Dict[str, Any]:
        frame = self._requests.get()
        if frame.kind == STOP:
            raise Stopped
        if frame.kind != kind:
            raise ProtocolError("the host sent frame kind {} where {} was due".format(frame.kind, kind))
        return frame.decode()

    def _read_requests(self) -> None:
        """Hand requests to the main thread; the end of the stream means that the host is gone."""
        while True:
            try:
                frame = self._channel.receive()
            except (OSError, ProtocolError) as error:
                sys.stderr.write("the request pipe broke: {}\n".format(error))
                frame = None
            if frame is None:
                _die()
                return
            if frame.kind == STOP:
                self._stopping.set()
            self._requests.put(frame)

    def _say_alive(self) -> None:
        message = encode_frame(ALIVE, {})
        with suppress(OSError):  # the host is gone: the reading thread sees to that
            while not self._stopping.wait(ALIVE_INTERVAL_S):
                self._channel.send_bytes(message)


def serve(adapter: Type[Adapter], *, read_fd: int, write_fd: int) -> int:
    """Run `adapter` as a worker on two inherited descriptors; returns the exit code."""
    if read_fd < 0 or write_fd < 0:
        sys.stderr.write("--serve is for the host: it needs --read-fd and --write-fd\n")
        return 2
    die_with_parent()  # beside the end of the request pipe, which nobody reads while a C call hangs
    try:
        return Server(adapter, Channel(read_fd, write_fd)).run()
    except ProtocolError as error:
        sys.stderr.write("{}\n".format(error))
        return EXIT_PROTOCOL
    except BrokenPipeError:
        return 0  # the host is gone or wants no more


def source_digest(folder: Path) -> str:
    """sha256 over the Python files in and below an adapter's folder, so that a changed adapter shows."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _die() -> None:
    """The host is gone: end at once, with everything this worker has started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _move(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN_DESCRIPTOR)
    os.close(descriptor)
    return moved


def _start(target: Any) -> None:
    threading.Thread(target=target, daemon=True).start()
