"""Which failure class an exception belongs to, told from its name and text: torch need not be importable here.

The texts are torch's, cuBLAS's and cuDNN's own; they have been steady from torch 1.9 to 2.x.
"""

import traceback
from typing import Iterator, Tuple

MAX_MESSAGE_CHARACTERS = 2000
MAX_TRACEBACK_CHARACTERS = 8000

# In this order: "CUDA error: out of memory" is not a poisoned context, though it begins like one.
_TEXTS = (
    ("arch", ("no kernel image is available", "invalid device function")),
    (
        "cuda_oom",
        ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    ),
    (
        "lost",
        (
            "no CUDA-capable device is detected",
            "CUDA-capable device(s) is/are busy or unavailable",
            "CUDA-capable device is busy or unavailable",
            "CUDA driver initialization failed, you might not have a CUDA gpu",
            "CUDA error: initialization error",
            "GPU is lost",
        ),
    ),
    (
        "poisoned",
        (
            "an illegal memory access was encountered",
            "device-side assert triggered",
            "unspecified launch failure",
            "misaligned address",
            "an illegal instruction was encountered",
            "invalid program counter",
            "hardware stack error",
            "the launch timed out and was terminated",
            "uncorrectable ECC error",
            "CUDA error: unknown error",
        ),
    ),
    (
        "host_oom",
        ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory", "Insufficient memory"),
    ),
)  # type: Tuple[Tuple[str, Tuple[str, ...]], ...]


class FailedElsewhere(Exception):  # noqa: N818  it stands for any other
    """An exception of another process of this worker's, told by its class of failure, message and traceback."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(message)
        self.told = (kind, message, trace)


def classify(error: BaseException, *, preparing: bool = False) -> str:
    """`arch`, `cuda_oom`, `lost`, `poisoned`, `host_oom`, `data` or `model`. `lost`: the GPU cannot be used at all.

    `preparing` says that the input was being read: a file that cannot be opened then is the data's fault.
    """
    if isinstance(error, FailedElsewhere):
        return error.told[0]
    for link in _chain(error):
        known = _classify_one(link)
        if known:
            return known
    if any(kind.__name__ == "DataError" for kind in type(error).__mro__) or (preparing and isinstance(error, OSError)):
        return "data"
    return "model"


def describe(error: BaseException) -> "Tuple[str, str]":
    """(class and text in one line, short traceback), both cut to a sane length."""
    if isinstance(error, FailedElsewhere):
        return error.told[1:]
    text = " ".join(str(error).split())
    message = "{}: {}".format(type(error).__name__, text) if text else type(error).__name__
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return message[:MAX_MESSAGE_CHARACTERS], lines[-MAX_TRACEBACK_CHARACTERS:]


def _classify_one(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "host_oom"
    text = str(error)
    for name, marks in _TEXTS:
        if any(mark in text for mark in marks):
            return name
    # torch.cuda.OutOfMemoryError (1.13 on) and torch.OutOfMemoryError (2.5 on)
    return "cuda_oom" if type(error).__name__ == "OutOfMemoryError" else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those it was raised from or while handling, newest first."""
    seen = set()
    link = error  # type: BaseException | None  # a comment: never evaluated by Python 3.8
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
