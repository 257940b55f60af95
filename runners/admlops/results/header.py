"""The header of a run: the request, the model, the data, the environment, the code and the device."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from admlops.core.errors import RecordError
from admlops.results.record_json import schema_of

RUN_SCHEMA_VERSION: Literal[1] = 1
RunState = Literal["running", "complete", "failed", "cancelled"]
"""`running` also stands in the folder of a run that was killed; all but `complete` can be resumed."""


class EnvironmentInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The environment the model ran in; `digest` covers every locked package."""

    name: str
    digest: str
    backend: str
    python: str


class ShardInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """Shard `index`, from 1, of `count`; `split`, `scenes` and `samples_sha256` are those of all shards together."""

    index: int
    count: int
    split: str | None
    scenes: dict[str, int]
    samples_sha256: str

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class WhereInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """What `--where` chose: the condition, and the definitions of the tags it asks for.

    The run covers the whole scenes that have such samples, and is evaluated on these samples alone: `samples` of them,
    with `samples_sha256` over their tokens. Of a shard they are those of all shards together.
    """

    condition: str
    tags: dict[str, str]
    samples: int
    samples_sha256: str


class DataInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The samples: `samples_sha256` is over their tokens; `split` is None where tokens or scenes were named.

    They are some or all of the `whole_samples` of `whole`: a split, or a version of the data set. `pictures` is how
    many the first of them has: its cameras. `kind` is the id of its data kind; empty in runs from before it was
    recorded, of which no root was of two kinds. `shard` is set where the run is one machine's part of a larger run,
    `where` where a condition chose its samples.
    """

    root: str
    version: str
    split: str | None
    samples_sha256: str
    synthetic: bool
    whole: str | None = None
    whole_samples: int | None = None
    pictures: int | None = None
    kind: str = ""
    shard: ShardInfo | None = None
    where: WhereInfo | UnsetType = UNSET

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind to open the root as, for `datasets.base.open_data`; empty where it is not known."""
        return (self.kind,) if self.kind else ()


class DeviceInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The device that workers ran on: `cpu`, or GPUs of one model. `ids` are theirs on the machine of that time."""

    kind: Literal["cuda", "cpu"]
    name: str
    ids: list[str]


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """The code, the weights and the machine. `commit` is None outside a git checkout.

    `sources` maps each folder of the model's own code to its commit, with the hash of what was changed there.
    `config_sha256` is over the content of the configuration file and of those that it takes up. `checkpoint` is the
    weights' name in the catalogue, None for others. `licenses` are SPDX identifiers by what they are of: `code`, and
    `weights` where published ones were loaded; empty in older runs. `sensors` are those that the network looked at,
    "camera" and "lidar"; empty in older runs.
    """

    commit: str | None
    admlops: str
    host: str
    gpus: list[str] = []
    driver: str | None = None
    sources: dict[str, str] = {}
    checkpoint_sha256: str | None = None
    checkpoint: str | None = None
    config_sha256: str | None = None
    licenses: dict[str, str] = {}
    sensors: list[str] = []


class Submission(Struct, frozen=True, forbid_unknown_fields=True):
    """The results file, made elsewhere, that the records of a run were read from.

    `format` is an id of `catalog.registries.SUBMISSION_FORMATS`. `sha256` and `size_bytes` are those of the file as it
    lay there, packed or not.
    """

    file: str
    format: str
    sha256: str
    size_bytes: int


class RunHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """`run.json`. `scenes` maps each scene to its number of samples, in the run's order.

    `adapter` is the sha256 over the adapter's code. `settings` go to the adapter and decide the records; `options` is
    the rest of the command line, kept for reading. `runtime` executes the network. `device` is None in runs from
    before it was recorded: `settings.device` names it there. `submission` is there only where no model ran here.
    `beside` names the runs of other models that worked on the same device meanwhile; absent where there was none.
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
    runtime: str = "torch"
    device: DeviceInfo | None = None
    options: dict[str, Any] = {}
    state: RunState = "running"
    schema: Literal[1] = RUN_SCHEMA_VERSION
    submission: Submission | UnsetType = UNSET
    beside: list[str] | UnsetType = UNSET

    @property
    def neighbours(self) -> tuple[str, ...]:
        """The runs that worked on the same device meanwhile: their energy and this run's cannot be told apart."""
        return () if self.beside is UNSET else tuple(self.beside)

    @property
    def shared(self) -> str | None:
        """Say with whom this run's workers shared their device; None: each had its device to itself.

        Times that were measured so say how fast all of them were together, and are no latency of the model.
        """
        if self.neighbours:
            return f"beside {', '.join(self.neighbours)} on the same device"
        workers = self.options.get("workers", 1)
        if isinstance(workers, int) and workers > 1:
            return f"by {workers} workers at once on each device"
        return "in throughput mode" if self.options.get("throughput") else None

    @property
    def is_submission(self) -> bool:
        """Tell whether the records were read from a results file: they say what it says, and nothing was timed."""
        return self.submission is not UNSET

    @property
    def random_weights(self) -> str | None:
        """`random:SEED` if the weights were drawn and not loaded: such a run says nothing of how good a model is."""
        options = self.settings.get("options")
        return options.get("weights") if isinstance(options, dict) else None

    @property
    def engine(self) -> dict[str, Any] | None:
        """What executed the network in PyTorch's place: `settings.engine`, None for the adapter's own network."""
        engine = self.settings.get("engine")
        return engine if isinstance(engine, dict) else None

    @property
    def engine_label(self) -> str | None:
        """What tables call the engine: `onnx`, `tensorrt:fp16`; None without one."""
        if self.engine is None:
            return None
        precision = str(self.engine.get("precision"))
        return str(self.engine["kind"]) + ("" if precision in FLOAT32_FILES else f":{precision}")

    @property
    def has_graphs(self) -> bool:
        """Tell whether parts of the network were replayed as CUDA graphs, where they could be."""
        return bool(self.settings.get("graphs"))

    @property
    def execution(self) -> str:
        """Name what executed the network: its engine, `graphs` for PyTorch with CUDA graphs, nothing for PyTorch."""
        return self.engine_label or ("graphs" if self.has_graphs else "")

    @property
    def engine_option(self) -> str | None:
        """What `--engine` takes for this engine: its label, or its file where it is no export of ours."""
        if self.engine is None:
            return None
        return self.engine_label if self.engine.get("artifact") else str(self.engine.get("file"))

    @property
    def unverified_engine(self) -> str | None:
        """The engine's label, if the run began before that file was verified on its machine."""
        return None if self.engine is None or self.engine.get("verified") else self.engine_label

    @property
    def engine_doubt(self) -> str | None:
        """Why the engine's numbers may be wrong, as the end of a sentence; None for a verified engine and for none."""
        if self.unverified_engine is None:
            return None
        step = (self.engine or {}).get("failed_step")
        return f"failed the step {step} of its verification" if step else "was not verified on this machine"

    @property
    def resume_command(self) -> str:
        """The command that goes on with this run: the one that began it, if that was `admlops run`."""
        return self._command("--resume")

    @property
    def retry_command(self) -> str:
        """The command that does this run's failed samples again."""
        return self._command("--retry-failed")

    @property
    def coverage(self) -> str:
        """Say how much of its split or data set the run covers, such as `6,019 of 6,019 samples of split val`."""
        samples = sum(self.scenes.values())
        chosen = ""
        if isinstance(self.data.where, WhereInfo):
            chosen = f"; evaluated are the {self.data.where.samples:,} where {self.data.where.condition}"
        if self.data.whole is None or self.data.whole_samples is None:
            return f"{samples:,} samples{chosen}"
        return f"{samples:,} of {self.data.whole_samples:,} samples of {self.data.whole}{chosen}"

    @property
    def device_kind(self) -> str:
        """`cuda` or `cpu`."""
        if self.device is not None:
            return self.device.kind
        return "cpu" if str(self.settings.get("device", "cpu")) == "cpu" else "cuda"

    @property
    def gpu(self) -> str | None:
        """The model of GPU that the run is on; None on a CPU, or where it was not recorded."""
        if self.device is not None:
            return self.device.name if self.device.kind == "cuda" else None
        _, _, index = str(self.settings.get("device", "")).partition(":")
        gpus = self.provenance.gpus
        return gpus[int(index)] if index.isdigit() and int(index) < len(gpus) else None

    def _command(self, option: str) -> str:
        begun = shlex.split(str(self.options.get("command", "")))
        if self.is_submission:
            return shlex.join(begun)
        command = begun if begun[:2] == ["admlops", "run"] else ["admlops", "run", self.model]
        if not any(word == "--run" or word.startswith("--run=") for word in command):
            command = [*command, "--run", self.run]
        command = [word for word in command if word not in {"--resume", "--retry-failed"} or word == option]
        return shlex.join(command if option in command else [*command, option])


_decode = msgspec.json.Decoder(RunHeader).decode


def encode_header(header: RunHeader) -> bytes:
    """Return the content of `run.json`, indented for people."""
    return msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n"


def decode_header(content: bytes, *, where: Path) -> RunHeader:
    """Return the header in a `run.json`; `where` is its path, for the error.

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


DECIDE_NOTHING = ("file", "export", "verified", "failed_step", "cache", "driver")
"""Keys of `settings.engine` that do not affect the records: where files lie, what makes them, what is known of them."""
FLOAT32_FILES = ("auto", "fp32", "fp32_tf32")
"""The precisions of engines whose files are float32 throughout."""
SETTING_DEFAULTS: dict[str, object] = {"precision": "authors", "graphs": False}
"""What a setting was before headers named it."""


def find_difference(before: RunHeader, now: RunHeader) -> tuple[str, object, object] | None:
    """Return the first difference that affects the records: (key, before, now).

    The contents of files and the model of GPU count; paths, the number of a GPU and the machine do not.
    """
    old, new = before.provenance, now.provenance
    pairs: list[tuple[str, object, object]] = [
        ("model", before.model, now.model),
        ("variant", before.variant, now.variant),
        ("runtime", before.runtime, now.runtime),
        ("environment.digest", before.environment.digest, now.environment.digest),
        ("adapter", before.adapter, now.adapter),
        ("provenance.sources", old.sources, new.sources),
        ("provenance.checkpoint_sha256", old.checkpoint_sha256, new.checkpoint_sha256),
        ("device", before.device_kind, now.device_kind),
        ("data.version", before.data.version, now.data.version),
        ("scenes", before.scenes, now.scenes),
        ("data.samples_sha256", before.data.samples_sha256, now.data.samples_sha256),
        ("data.where", _chosen_by(before), _chosen_by(now)),
    ]
    if before.gpu and now.gpu:
        pairs.append(("device", before.gpu, now.gpu))
    if old.config_sha256 and new.config_sha256:
        pairs.append((f"the content of {now.settings.get('config')}", old.config_sha256, new.config_sha256))
    known = {"device", *_known_by_content(old, new)}
    names = [name for name in dict.fromkeys([*before.settings, *now.settings]) if name not in known]
    # Through JSON, so that a tuple of today equals the list that was read back.
    first, second = (_decisive(msgspec.json.decode(msgspec.json.encode(one.settings))) for one in (before, now))
    pairs += [
        (f"settings.{name}", *(one.get(name, SETTING_DEFAULTS.get(name)) for one in (first, second))) for name in names
    ]
    return next(((key, was, is_now) for key, was, is_now in pairs if was != is_now), None)


def _chosen_by(header: RunHeader) -> str | None:
    """Return the digest of the samples that are evaluated; None where all of them are."""
    return header.data.where.samples_sha256 if isinstance(header.data.where, WhereInfo) else None


def _decisive(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out where an engine's file lies, and whether somebody has verified it: neither affects the records."""
    engine = settings.get("engine")
    if not isinstance(engine, dict):
        return settings
    return {**settings, "engine": {name: value for name, value in engine.items() if name not in DECIDE_NOTHING}}


def _known_by_content(old: Provenance, new: Provenance) -> set[str]:
    """List the settings that are paths of files whose contents are compared: the paths themselves do not count."""
    digests = {
        "checkpoint": (old.checkpoint_sha256, new.checkpoint_sha256),
        "config": (old.config_sha256, new.config_sha256),
    }
    return {name for name, both in digests.items() if all(both)}


def shorten(value: object) -> str:
    """Return a value as a message can hold it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def find_way_out(before: RunHeader, now: RunHeader, key: str) -> str:
    """Return what to do about a refused resume: never the command that was refused."""
    if key == "device":
        where = (
            f"on a machine with a GPU of its model ({before.gpu})"
            if before.gpu
            else f"with --device {before.device_kind}"
        )
        return f"go on {where}, or start a new run: leave --resume out and choose another --run NAME"
    begun, typed = before.options.get("command"), now.options.get("command")
    if (key == "scenes" or key.startswith(("settings.", "data."))) and begun and begun != typed:
        wanted = before.resume_command
        if wanted != typed:
            return f"{wanted}   # or leave --resume out and choose another --run NAME"
    return "leave --resume out and choose another --run NAME: a new run; or bring back what differs"
