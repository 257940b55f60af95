"""Exceptions are told apart by their names and texts, through the chain they were raised in."""

from __future__ import annotations

import pytest

from worker.failures import classify, describe
from worker.mmlab.common.weights import WeightsError
from worker.samples.nuscenes import DataError


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "arch"),
        (RuntimeError("error in ms_deformable_im2col_cuda: no kernel image is available for execution"), "arch"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8 GiB total)"), "cuda_oom"),
        (RuntimeError("CUDA error: out of memory"), "cuda_oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "cuda_oom"),
        (OutOfMemoryError("Allocation on device"), "cuda_oom"),
        (RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"), "poisoned"),
        (RuntimeError("CUDA error: device-side assert triggered"), "poisoned"),
        (RuntimeError("CUDA error: unspecified launch failure"), "poisoned"),
        (MemoryError(), "host_oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 TB"), "host_oom"),
        (DataError("a.jpg is missing"), "data"),
        (WeightsError("a.pth does not fit the model"), "data"),
        (ValueError("shapes do not match"), "model"),
        (FileNotFoundError("weights.pth"), "model"),
    ],
)
def test_class_of(error: Exception, kind: str) -> None:
    assert classify(error) == kind


def test_an_unreadable_file_is_the_datas_fault_only_while_reading_input() -> None:
    assert classify(FileNotFoundError("a.jpg"), preparing=True) == "data"
    assert classify(MemoryError(), preparing=True) == "host_oom"
    assert classify(ValueError("a.jpg"), preparing=True) == "model"


def test_the_cause_decides() -> None:
    wrapped = ValueError("the head failed")
    wrapped.__cause__ = RuntimeError("CUDA out of memory. Tried to allocate")
    assert classify(wrapped) == "cuda_oom"
    loop = ValueError("a")
    loop.__cause__ = loop
    assert classify(loop) == "model"


def test_descriptions_are_short_and_in_one_line() -> None:
    message, trace = describe(ValueError("first\n  second " + "x" * 10_000))
    assert message.startswith("ValueError: first second xxx")
    assert len(message) <= 2000
    assert len(trace) <= 8000
    assert describe(KeyError())[0] == "KeyError"
