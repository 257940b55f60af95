"""Every CUDA source of the models' operations compiles for the GPUs that pods offer; no GPU is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.environments import cuda_sources as cuda

from admlops.core.errors import AdmlopsError
from admlops.core.paths import find_layout
from admlops.environments import Environment

full = pytest.mark.full


@pytest.fixture(scope="module")
def environment() -> Environment:
    """MapTR's modern environment, with nvcc beside it, or a skip that says how to have them."""
    try:
        cuda.find_nvcc()
        return cuda.find_environment(find_layout())
    except AdmlopsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mmcv(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return cuda.fetch_mmcv(find_layout(), environment, tmp_path_factory.mktemp("mmcv"))
    except AdmlopsError as error:
        pytest.skip(str(error))


@full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(11))
def test_every_source_compiles_for_every_architecture(
    environment: Environment, mmcv: Path, part: int, tmp_path: Path
) -> None:
    sources = cuda.list_sources(find_layout(), mmcv, tmp_path)
    assert len(sources) == 56
    results = list(
        cuda.compile_sources(
            sources[part::11], environment=environment, mmcv=mmcv, archs=cuda.ARCHS, together=3, folder=tmp_path
        )
    )
    assert {name for done in results if done.succeeded for name in done.sources} == {
        source.name for source in sources[part::11]
    }, results


@full
@pytest.mark.timeout(600)
def test_maptrs_source_as_it_is_does_not_compile(environment: Environment, mmcv: Path, tmp_path: Path) -> None:
    """Without the patch: when this fails, the patch has become needless."""
    source = find_layout().submodules / "MapTR" / cuda.KERNEL_ATTENTION / "geometric_kernel_attn_cuda.cu"
    (done,) = cuda.compile_sources(
        [source], environment=environment, mmcv=mmcv, archs=["90"], together=1, folder=tmp_path
    )
    assert not done.succeeded
    assert any("DeprecatedTypeProperties" in line for line in done.errors)


def test_what_does_not_compile_is_named_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: Environment
) -> None:
    """With nvcc and no torch at all: of a group with one bad source, that one alone is reported."""
    monkeypatch.setattr(cuda, "_include_options", lambda *_: [])
    good, bad = tmp_path / "good.cu", tmp_path / "bad.cu"
    good.write_text("__global__ void fill(float *out) { out[threadIdx.x] = 1.0f; }\n")
    bad.write_text("__global__ void broken(float *out) { out[threadIdx.x] = missing; }\n")
    results = list(
        cuda.compile_sources(
            [good, bad], environment=environment, mmcv=tmp_path, archs=["90"], together=2, folder=tmp_path
        )
    )
    assert [(done.sources, done.succeeded) for done in results] == [(("good.cu",), True), (("bad.cu",), False)]
    assert any("missing" in line for line in results[1].errors)
