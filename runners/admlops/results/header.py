"""The header of a run: what was asked for, of which model, on which data, in which environment, from which code."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from admlops.core.errors import RecordError
from admlops.results.record import schema_of

RUN_SCHEMA_VERSION: Literal[1] = 1
RunState = Literal["running", "complete", "failed", "cancelled"]
"""`running` also stands in the folder of a run that was killed; all but `complete` can be resumed."""


class EnvironmentInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The environment the model ran in; `digest` covers every locked package."""

    name: str
    digest: str
    backend: str
    python: str


class DataInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The samples: `samples_sha256` is over their tokens; `split` is None where tokens or scenes were named."""

    root: str
    version: str
    split: str | None
    samples_sha256: str
    synthetic: bool


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """The code, the weights and the machine. `commit` is None outside a git checkout.

    `sources` maps each folder of the model's own code to its commit, with the hash of what was changed there.
    """

    commit: str | None
    admlops: str
    host: str
    gpus: list[str] = []
    driver: str | None = None
    sources: dict[str, str] = {}
    checkpoint_sha256: str | None = None


class RunHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """`run.json`. `scenes` maps each scene to its number of samples, in the run's order.

    `adapter` is the sha256 over the adapter's code. `settings` go to the adapter and decide the records; `options` is
    the rest of the command line, kept for reading.
    """

    run: str
    model: str
    variant: str
    environment: EnvironmentInfo
    data: DataInfo
    provenance: Provenance
    scenes: dict[str, int]
    settings: dict[str, Any]
    created: str
    adapter: str = ""
    options: dict[str, Any] = {}
    state: RunState = "running"
    schema: Literal[1] = RUN_SCHEMA_VERSION

    @property
    def random_weights(self) -> str | None:
        """`random:SEED` where the weights were drawn and not loaded: such a run says nothing of how good a model is."""
        options = self.settings.get("options")
        return options.get("weights") if isinstance(options, dict) else None

    @property
    def resume_command(self) -> str:
        """What to type to go on with this run: the command that began it, where it was one of `admlops run`."""
        begun = shlex.split(str(self.options.get("command", "")))
        command = begun if begun[:2] == ["admlops", "run"] else ["admlops", "run", self.model]
        if not any(word == "--run" or word.startswith("--run=") for word in command):
            command = [*command, "--run", self.run]
        return shlex.join(command if "--resume" in command else [*command, "--resume"])


_decode = msgspec.json.Decoder(RunHeader).decode


def encode_header(header: RunHeader) -> bytes:
    """`run.json`, indented for people."""
    return msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n"


def decode_header(content: bytes, *, where: Path) -> RunHeader:
    """The header in a `run.json`; `where` is its path, for the error.

    Raises:
        RecordError: not JSON, not a header, or one with a newer schema.
    """
    try:
        return _decode(content)
    except msgspec.DecodeError as error:
        version = schema_of(content)
        if isinstance(version, int) and version > RUN_SCHEMA_VERSION:
            raise RecordError(
                f"{where} was written with run schema {version}; this admlops reads up to {RUN_SCHEMA_VERSION}",
                hint="git pull && make setup   # then run the command again",
            ) from error
        raise RecordError(
            f"{where} is not a run's header: {error}", hint="admlops results list   # see which runs are whole"
        ) from error


SETTING_DEFAULTS: dict[str, object] = {"precision": "authors"}
"""What a setting was before headers named it."""


def find_difference(before: RunHeader, now: RunHeader) -> tuple[str, object, object] | None:
    """The first thing that decides the records and is not the same: (key, before, now)."""
    pairs: list[tuple[str, object, object]] = [
        ("model", before.model, now.model),
        ("variant", before.variant, now.variant),
        ("environment.digest", before.environment.digest, now.environment.digest),
        ("adapter", before.adapter, now.adapter),
        ("provenance.sources", before.provenance.sources, now.provenance.sources),
        ("provenance.checkpoint_sha256", before.provenance.checkpoint_sha256, now.provenance.checkpoint_sha256),
        ("data.version", before.data.version, now.data.version),
        ("scenes", before.scenes, now.scenes),
        ("data.samples_sha256", before.data.samples_sha256, now.data.samples_sha256),
    ]
    names = list(dict.fromkeys([*before.settings, *now.settings]))
    # Through JSON, so that a tuple of today equals the list that was read back.
    first, second = msgspec.to_builtins(before.settings), msgspec.json.decode(msgspec.json.encode(now.settings))
    pairs += [
        (f"settings.{name}", *(one.get(name, SETTING_DEFAULTS.get(name)) for one in (first, second))) for name in names
    ]
    return next(((key, old, new) for key, old, new in pairs if old != new), None)
