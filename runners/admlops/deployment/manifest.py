"""The manifest of an exported network: what it was made of and how, what goes in and out, and what was found."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from admlops.core.errors import RecordError
from admlops.deployment.engines import AUTO
from admlops.worker.network import DEFAULT_FORM

MANIFEST_SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class TensorInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output. An axis is a length, or the name of one that may vary."""

    name: str
    dtype: str
    shape: list[int | str]
    unit: str = ""
    frame: str = ""


class Tensors(Struct, frozen=True):
    """What goes into a network and comes out of it."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class ExportSource(Struct, frozen=True, forbid_unknown_fields=True):
    """What was exported. Exactly one of `checkpoint_sha256` and `weights` (`random:SEED`) is set, or neither.

    `config` is a name of the catalogue or a file's path, `checkpoint` the weights' name in the catalogue. `adapter` is
    the sha256 over the code that ran, `code` that over the model's folder alone (None: not noted), `sources` the
    commits of the model's own code.
    """

    variant: str
    environment: str
    adapter: str
    code: str | None = None
    config: str | None = None
    config_sha256: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    weights: str | None = None
    options: dict[str, Any] = {}
    sources: dict[str, str] = {}
    commit: str | None = None


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """The samples that int8 ranges were taken from; a run over any of them is refused an int8 score."""

    data: str
    version: str
    samples: list[str]
    samples_sha256: Sha256


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """`manifest.json`, beside the file that it describes.

    `precision` is that of the file: `auto` and `fp32` are float32 throughout. `verdicts` are those of the export
    itself: the checker's, what was slimmed, the largest difference from PyTorch for the example that was traced.
    `lengths` are the least, usual and largest length of axes that may vary.
    """

    model: str
    key: str
    form: str
    kind: str
    precision: str
    file: str
    sha256: Sha256
    size_bytes: int
    opset: int
    exporter: str
    versions: dict[str, str]
    source: ExportSource
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    carried: dict[str, str]
    verdicts: dict[str, Any]
    created: str
    fixes: list[str] = []
    lengths: dict[str, tuple[int, int, int]] = {}
    calibration: Calibration | None = None
    schema: Literal[1] = MANIFEST_SCHEMA_VERSION

    @property
    def export_command(self) -> str:
        """The command that exports this network again; axes, MODEL's options and int8's samples are not in it."""
        source = self.source
        checkpoint = source.checkpoint or ("FILE" if source.checkpoint_sha256 is not None else None)
        words = {"--to": self.kind, "--checkpoint": checkpoint, "--weights": source.weights}
        words |= {"--config": source.config, "--form": None if self.form == DEFAULT_FORM else self.form}
        words["--precision"] = None if self.precision == AUTO else self.precision
        if self.calibration is not None:
            words["--calibrate"] = "SPLIT"
        said = " ".join(f"{option} {shlex.quote(value)}" for option, value in words.items() if value is not None)
        return f"admlops export {self.model} {said}"


_decode = msgspec.json.Decoder(Manifest).decode


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of `manifest.json`, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        RecordError: it cannot be read, or does not follow this schema.
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path.parent}") from error
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{path} is no manifest of an exported network: {error}",
            hint="admlops export MODEL --to onnx   # exports it again",
        ) from error
