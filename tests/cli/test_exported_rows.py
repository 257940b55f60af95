"""The rows of `admlops exported list`: what differs is said, and a row fits a terminal."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.deployment.test_artifacts import make_manifest
from tests.typed import Typed

from admlops.cli.exported_rows import spell_engine, spell_provider, spell_size, tell_apart
from admlops.cli.tables import _print_rich
from admlops.core.paths import find_layout
from admlops.deployment.artifacts import keep_artifact, new_artifact
from admlops.deployment.manifest import Manifest, TensorInfo

COLUMNS = 80


def export(
    key: str = "a",
    *,
    opset: int = 17,
    shape: tuple[int | str, ...] = ("batch", 5, 64, 112),
    precision: str = "auto",
    form: str = "default",
    **source: Any,
) -> Manifest:
    facts: dict[str, Any] = {"config": "resnet18", "weights": "random:0", **source}
    manifest = make_manifest(key * 16, **facts)
    inputs = [
        TensorInfo(name="channels", dtype="float32", shape=list(shape)),
        TensorInfo(name="size", dtype="float32", shape=[2]),
    ]
    return msgspec.structs.replace(manifest, opset=opset, inputs=inputs, precision=precision, form=form)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([export()], ["random:0"]),
        ([export(opset=20), export()], ["random:0, opset 20", "random:0"]),
        ([export(precision="int8", opset=19)], ["random:0"]),
        ([export(shape=(1, 5, 64, 112)), export()], ["random:0, 1×5×64×112", "random:0, batch×5×64×112"]),
        ([export(form="gathers"), export()], ["random:0, gathers", "random:0"]),
        ([export(), export(config="/a/own.py")], ["random:0, resnet18", "random:0, own.py"]),
        ([export(variant="classic"), export()], ["random:0, classic", "random:0, modern"]),
        ([export(options={"score": 0.3, "weights": "random:0"}), export()], ["random:0, score=0.3", "random:0"]),
        ([export("a"), export("b"), export(precision="fp16")], ["random:0, older", "random:0", "random:0"]),
        ([export(weights=None, checkpoint="trained")], ["trained"]),
        ([export(weights=None, checkpoint_sha256="0" * 64)], ["0" * 12]),
    ],
)  # fmt: skip
def test_a_row_says_what_differs_from_other_exports_of_its_model(found: list[Manifest], said: list[str]) -> None:
    assert tell_apart(found) == said


def test_an_engine_is_called_as_it_is_asked_for() -> None:
    assert [spell_engine(export()), spell_engine(export(precision="int8"))] == ["onnx", "onnx:int8"]
    assert [spell_size(44_720_595), spell_size(800_000)] == ["45", "0.8"]
    assert [spell_provider("CPUExecutionProvider"), spell_provider("TensorRT")] == ["CPU", "TensorRT"]


def test_the_table_fits_a_terminal(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = find_layout()
    found = (export(opset=20), export(precision="int8", opset=19), export(weights="random:11"), export())
    manifests = [msgspec.structs.replace(one, key=f"{at}" * 16, size_bytes=44_720_595) for at, one in enumerate(found)]
    for manifest in manifests:
        with new_artifact(layout, manifest.model) as folder:
            (folder / manifest.file).write_bytes(b"a network")
            keep_artifact(layout, folder, manifest)
    lines = typed("exported", "list").out.splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= COLUMNS
    columns, *rows = (re.split(" {2,}", line) for line in lines)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    _print_rich(columns, [(*row[:4], "CPU") for row in rows], narrow=False)
    ruled = capsys.readouterr().out
    assert all(f"│ CalibrationStatus/{one.key} │" in ruled for one in manifests), "names can be copied"
