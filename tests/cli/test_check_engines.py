"""`admlops check --engine`: what a check cannot export on the way is refused before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.pipeline.check import require_exportable


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("options", "words", "command"),
    [
        (
            ("--engine", "onnx:int8"),
            "a check has none for that",
            "admlops export CalibrationStatus --precision int8 --calibrate train --data DIR",
        ),
        (
            ("--engine", "onnx", "--variant", "onnx"),
            "CalibrationStatus's variant onnx has no PyTorch",
            "admlops check CalibrationStatus --engine onnx ",
        ),
    ],
)
def test_what_a_check_cannot_export_is_refused_before_it_begins(
    typed: Typed, options: tuple[str, ...], words: str, command: str, more: tuple[str, ...]
) -> None:
    refused = typed("check", "CalibrationStatus", *options, *more)
    assert (refused.code, words in refused.err, f"→ {command}" in refused.err) == (2, True, True), refused.err


def test_files_and_what_can_be_exported_are_checked(tmp_path: Path) -> None:
    made = tmp_path / "int8.onnx"
    made.write_bytes(b"")
    model = load_model(find_layout(), "CalibrationStatus")
    require_exportable(model, str(made), "onnx")
    require_exportable(model, "onnx:fp16", None)
    require_exportable(model, None, "onnx")
