"""The shape of a `model.toml`. Descriptions here are what an error shows when a key is missing or wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from admlops.catalog.registries import TASKS
from admlops.core.errors import CatalogError
from admlops.core.types import Device

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
HashBegin = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,63}$")]
Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")]
Arch = Annotated[str, StringConstraints(pattern=r"^sm_[0-9]{2,3}[a-z]?$")]
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s]+$")]
NpmName = Annotated[str, StringConstraints(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*$")]
Sensor = Literal["camera", "lidar"]
DriveId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{20,}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Source(_Part):
    """Where the model's code comes from: a pinned git commit, or `embedded` in its own folder under `envs/`."""

    kind: Literal["git", "embedded"] = Field(description='"git" or "embedded"')
    repository: HttpsUrl | None = Field(None, description="the git repository's https address")
    commit: Commit | None = Field(None, description="the full commit, 40 lower-case hexadecimal digits")
    branch: Text | None = Field(None, description="the branch that holds the commit")
    folder: Name | None = Field(None, description="the folder under submodules/ (default: the model's name)")
    requires: tuple[Name, ...] = Field((), description="further folders under submodules/ that the code imports from")


class Variant(_Part):
    """One set of pins of a model.

    `requirements-cuda.txt` and `requirements-cpu.txt` may lie beside `requirements`, for packages whose builds differ
    by device. `installers` are in order of preference. `driver` is the oldest NVIDIA driver that the variant's CUDA
    runs on.
    """

    python: Text = Field(description='the Python versions it runs on, such as ">=3.11,<3.12"')
    installers: tuple[Name, ...] = Field(min_length=1, description='a list of installers, such as ["conda", "venv"]')
    requirements: Path = Field(description="the hashed Python lock, relative to the model's folder")
    conda_lock: Path | None = Field(None, description="the conda lock, relative to the model's folder")
    locks: dict[Name, Path] = Field(
        default_factory=dict, description="installer = the lock that it reads, relative to the model's folder"
    )
    compiled: tuple[Name, ...] = Field(
        (), description='packages of the lock that come as source and hold compiled ops, such as ["mmcv-full"]'
    )
    devices: tuple[Device, ...] = Field(
        (), description='the devices that environments are built for, "cuda" and "cpu"; empty if one serves all'
    )
    driver: Text | None = Field(None, description='the NVIDIA driver that it needs, such as ">=525"')
    smoke: tuple[Module, ...] = Field((), description='modules that must import, such as ["torch", "mmcv.ops"]')
    arch: tuple[Arch, ...] = Field((), description='the GPU architectures it has kernels for, such as ["sm_90"]')
    summary: str = Field("", description="one line: what this variant is for")

    @property
    def installer_locks(self) -> dict[str, Path]:
        """The further lock of each installer that reads one."""
        return self.locks if self.conda_lock is None else {"conda": self.conda_lock, **self.locks}


class Fix(_Part):
    """A correction that published weights need: the reason, and the settings that the adapter applies."""

    reason: Text = Field(description="why results are wrong without it, and who says so")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="what the adapter changes")
    for_all_weights: bool = Field(
        False, description="true if weights of one's own need it too, however they were trained"
    )


class PackedGraph(_Part):
    """A graph model of TensorFlow.js inside a package of npm.

    `graph` is its JSON file in the package; the files with its weights lie beside it. The npm client finds the package
    by the user's npm settings, and the package is only accepted with this hash.
    """

    package: NpmName = Field(description="the package's name, such as @scope/name")
    version: Name = Field(description="the package's exact version")
    sha256: Sha256 = Field(description="the sha256 of the package's archive, 64 lower-case hexadecimal digits")
    size_bytes: Annotated[int, Field(gt=0)] | None = Field(None, description="the archive's size in bytes")
    graph: Text = Field(description="the graph's JSON file in the package, such as models/net.json")

    @property
    def specifier(self) -> str:
        """What npm calls the package: `@scope/name@1.2.3`."""
        return f"{self.package}@{self.version}"

    @property
    def archive_name(self) -> str:
        """What `npm pack` calls the archive: `scope-name-1.2.3.tgz`."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


class Checkpoint(_Part):
    """Weights: exactly one of `url`, `google_drive`, `npm` and `trained_by`; `sha256` once a download has shown it.

    Weights from an npm package are stored as one safetensors file, with the graph in its metadata; `sha256` and
    `size_bytes` are that file's.
    """

    config: Name = Field(description="the name of a config of this model")
    file: Name = Field(description="the file's name under checkpoints/<Model>/")
    url: HttpsUrl | None = Field(None, description="an https address")
    google_drive: DriveId | None = Field(None, description="the file's Google Drive id")
    npm: PackedGraph | None = Field(None, description="a table: the package of npm that holds the weights")
    trained_by: Name | None = Field(
        None, description="the program in the model's folder that makes the weights, such as train.py"
    )
    size_bytes: Annotated[int, Field(gt=0)] | None = Field(None, description="the file's size in bytes")
    sha256: Sha256 | None = Field(None, description="64 lower-case hexadecimal digits")
    sha256_begins: HashBegin | None = Field(
        None, description="the first digits of the sha256, 8 to 63 of them, where the publisher gives no more"
    )
    sha256_from: Literal["publisher", "first download"] | None = Field(
        None, description='who vouches for the hash: "publisher" or "first download"'
    )
    fixes: tuple[Name, ...] = Field((), description="names of fixes of this model that these weights need")

    @property
    def host(self) -> str:
        """Where the file comes from, as a person says it: a host's name, Google Drive or npm."""
        if self.npm is not None:
            return "npm"
        if self.trained_by is not None:
            return "this machine"
        return urlsplit(self.url).hostname or "" if self.url else "Google Drive"


class Option(_Part):
    """What a user may choose for a run of the model: `--option NAME=VALUE`."""

    description: Text = Field(description="what it changes, and what holds without it")
    values: tuple[Text, ...] = Field(min_length=1, description='a list of what it may be, such as ["left", "right"]')


Confidence = Annotated[float, Field(ge=0, le=1)]


class Detection2D(_Part):
    """How the boxes of an image detector are interpreted, for the task `detection_2d`.

    Scores of different detectors do not mean the same: one says 0.35 where another says 0.8. So each states the
    confidence from which its boxes count, chosen on other pictures than those that it is evaluated on.
    """

    operating_threshold: Confidence = Field(
        description="the confidence from which on a box is meant, such as 0.35; counts and F1 are taken there"
    )
    nms_iou: Confidence | None = Field(
        None, description="the IoU above which its non-maximum suppression drops the weaker box; absent: it has none"
    )
    min_confidence: Confidence = Field(0.0, description="the confidence below which it gives no box")


class GpuMemory(_Part):
    """What a worker takes of a GPU, measured once: an estimate for GPUs on which it was not measured."""

    megabytes: float = Field(gt=0, description="the peak that its runtime reserved [MB, 10⁶ bytes], one sample at once")
    source: Text = Field(description="on which GPU, and how it was measured")


class InitialWeights(_Part):
    """Weights that a configuration's training begins with, such as a backbone's: published, and never in git."""

    file: Text = Field(description="the path that configurations name, relative to the source's root")
    url: HttpsUrl = Field(description="an https address, or the page that the file can be had from")
    sha256: Sha256 | None = Field(None, description="64 lower-case hexadecimal digits")
    sha256_begins: HashBegin | None = Field(None, description="the first digits, where the publisher gives no more")


class Training(_Part):
    """How the model is trained. The authors' learning rate belongs to their batch on all GPUs together."""

    trainer: Name = Field(description='the id of a trainer, such as "mmlab-v1"')
    program: Name | None = Field(None, description="the training program in the model's folder, such as train.py")
    config: Name | None = Field(None, description="the config that is trained unless another is asked for")
    total_batch: Annotated[int, Field(gt=0)] | None = Field(None, description="the authors' batch on all their GPUs")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(None, description="the authors' learning rate")
    processes: Annotated[int, Field(gt=0)] = Field(1, description="the authors' number of GPUs")
    memory_mb: float = Field(1000, gt=0, description="what a process takes of the machine's memory [MB], at least")
    gpu_memory_mb: float | None = Field(None, gt=0, description="what the authors' batch takes of a GPU [MB]")
    checkpoint_mb: float = Field(100, gt=0, description="the size of a checkpoint with the optimizer's state [MB]")
    initial_weights: tuple[InitialWeights, ...] = ()
    variant: Name | None = Field(None, description="the variant that trains, where it is not the default one")
    smaller: tuple[Literal["teacher", "prune"], ...] = Field(
        (), description='how the program makes networks smaller: "teacher" (distillation), "prune" (channels)'
    )
    needs_teacher: bool = Field(False, description="it trains against a teacher alone, not against labels")
    smoke: dict[Text, JsonValue] = Field(
        default_factory=dict, description="config variable = its value in a smoke test, the smallest that trains"
    )


class Claim(_Part):
    """A published number, with the protocol that says what it can be compared with."""

    metric: Text = Field(description="the metric's name in its protocol, such as mAP")
    value: float = Field(description="the number; scores and rates as fractions, so 0.5 for 50 %")
    protocol: Text = Field(description="the id of an evaluation protocol")
    source: Text = Field(description="where it was published")
    config: Name | None = Field(None, description="the name of a config, where no weights were published")
    checkpoint: Name | None = Field(None, description="the name of a checkpoint")
    version: Text | None = Field(
        None, description="the data set's version, where it is neither v1.0-trainval nor subset_A"
    )
    device: Text | None = Field(None, description="the GPU; required for FPS")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a model is to be treated, whatever it comes from.

    Attributes:
        needs_weights: it runs with a checkpoint or with random weights, never without either.
        needs_setup: a person sets it up (`make setup-MODEL`): a run does not build its environment on the way.
        needs_context: its samples carry what lies around them: neighbouring frames, CAN bus messages, the map's name.
        made_for_gpu: times measured on a CPU say nothing about it.
        temporal: it carries state from one sample to the next within a scene.
        reads: the data kinds that it runs on, the usual one first.
        outputs: the keys of the record that it fills.
    """

    needs_weights: bool
    needs_setup: bool
    needs_context: bool
    made_for_gpu: bool
    temporal: bool
    reads: tuple[str, ...]
    outputs: tuple[str, ...]


class Model(_Part):
    """One model of the catalogue. `folder` is the folder that holds its `model.toml`.

    `frame` and `box_convention` describe the network's own output, which the adapter converts into the record's frame;
    a model without outputs in space has neither. `mmdet3d_0.17` is (w, l, h) with nuScenes yaw = -yaw - π/2,
    `mmdet3d_1.0` is (l, w, h) with yaw as it is, both with the origin at the bottom face's centre; `standard` is the
    record's own. `classes` maps a task to its class names, label 0 first. The four traits that are None follow from
    the source: a model whose code is fetched is a network that is set up, loads weights and is made for a GPU.
    """

    folder: Path
    name: Name = Field(description="the name of the folder that holds this file")
    summary: Text = Field(description="one line: what the model does")
    tasks: tuple[Name, ...] = Field(min_length=1, description='a list of tasks, such as ["vector_map"]')
    reads: tuple[Name, ...] = Field(
        ("nuscenes",), min_length=1, description='a list of the data kinds that it runs on, such as ["nuscenes"]'
    )
    off_distribution: tuple[Name, ...] = Field(
        (), description='a list of the data kinds that it can run on with --off-distribution, such as ["nuscenes"]'
    )
    sensors: tuple[Sensor, ...] = Field(
        ("camera",), min_length=1, description='a list of the sensors that it looks at, "camera" and "lidar"'
    )
    config_sensors: dict[Name, tuple[Sensor, ...]] = Field(
        default_factory=dict, description="config = its sensors, where they are not those of the model"
    )
    license: Text = Field(description="the SPDX identifier of the model's code")
    weights_license: Text | None = Field(None, description="the SPDX identifier of the published weights")
    source: Source = Field(description="a [source] table")
    frame: Literal["lidar", "ego"] | None = Field(
        None, description='the frame of the network\'s output: "lidar" or "ego"'
    )
    box_convention: Literal["mmdet3d_0.17", "mmdet3d_1.0", "standard"] | None = Field(
        None, description='"mmdet3d_0.17", "mmdet3d_1.0" or "standard"'
    )
    temporal: bool = Field(description="true if the model carries state from sample to sample")
    batches: bool = Field(False, description="true if its adapter takes several samples at once (forward_batch)")
    camera_sized: bool = Field(
        False, description="true if pictures enter its network in the cameras' size, scaled: an export is for one size"
    )
    needs_weights: bool | None = Field(None, description="true if it runs with weights only")
    needs_setup: bool | None = Field(None, description="true if a person sets it up before it runs")
    needs_context: bool | None = Field(None, description="true if its samples carry neighbouring frames and CAN bus")
    made_for_gpu: bool | None = Field(None, description="true if times on a CPU say nothing about it")
    runtime: Name = Field("torch", description='the id of the runtime that executes it, such as "torch"')
    checkpoint_form: Literal["tensors", "network", "arrays"] = Field(
        "tensors", description='what its authors save as weights: "tensors", the whole "network", or NumPy "arrays"'
    )
    default_variant: Name = Field(description="the name of one of the variants")
    default_checkpoint: Name | None = Field(None, description="the name of one of the checkpoints")
    variants: dict[Name, Variant] = Field(min_length=1, description="at least one [variants.<name>] table")
    classes: dict[Name, tuple[Text, ...]] = Field(
        default_factory=dict, description="task = a list of its class names, label 0 first"
    )
    detection_2d: Detection2D | None = Field(
        None, description="a [detection_2d] table: the operating threshold of a detector in images"
    )
    gpu_memory: GpuMemory | None = Field(None, description="a [gpu_memory] table: an estimate of what a worker takes")
    training: Training | None = Field(None, description="a [training] table: how the model is trained here")
    configs: dict[Name, Text] = Field(default_factory=dict, description="name = path in the source tree")
    not_runnable: dict[Name, Text] = Field(
        default_factory=dict, description="name of a config that no variant runs = why, as the end of a sentence"
    )
    not_exported: Text | None = Field(
        None, description="why its network cannot leave PyTorch, as the end of a sentence"
    )
    moved: dict[Name, Name] = Field(
        default_factory=dict,
        description="name of a config or of weights that this model had = the model that has it now",
    )
    checkpoints: dict[Name, Checkpoint] = Field(default_factory=dict)
    fixes: dict[Name, Fix] = Field(default_factory=dict)
    options: dict[Name, Option] = Field(default_factory=dict)
    published: tuple[Claim, ...] = ()
    protocols: tuple[Text, ...] = Field(
        (), description="a list of ids of evaluation protocols that the authors use beside the usual ones"
    )
    notes: tuple[Text, ...] = Field((), description="a list of traps a user should know")

    @property
    def adapter(self) -> Path:
        """The program that runs the model: `demo.py` in its folder."""
        return self.folder / "demo.py"

    def sensors_of(self, config: str | None) -> tuple[Sensor, ...]:
        """Return the sensors that a configuration uses, given its name, its path, or None for the default one."""
        if config is None and self.default_checkpoint is not None:
            config = self.checkpoints[self.default_checkpoint].config
        name = next((one for one, path in self.configs.items() if config and config.endswith("/" + path)), config)
        return self.config_sensors.get(name or "", self.sensors)

    def weights_command(self, name: str) -> str:
        """Return the command that fetches or trains weights of the catalogue."""
        if self.checkpoints[name].trained_by is not None:
            return f"admlops checkpoints train {self.name} --data DIR"
        return f"admlops checkpoints fetch {self.name} {name}"

    def describe_unknown(self, asked: str, names: Collection[str]) -> str:
        """Say which `names` exist when `asked` is none of them, or which model `asked` moved to."""
        if asked in self.moved:
            return f"it is of the model {self.moved[asked]} now"
        return f"{self.name} knows {', '.join(names)}" if names else f"{self.name} knows none by name"

    def choose_variant(self, name: str | None) -> str:
        """Return the variant of that name, the default one for None. Raises CatalogError if the model has no such."""
        chosen = name or self.default_variant
        if chosen not in self.variants:
            raise CatalogError(
                f'{self.name} has no variant "{chosen}" (it has {", ".join(self.variants)})',
                hint=f"admlops models show {self.name}",
            )
        return chosen

    @property
    def traits(self) -> Traits:
        """Say how the model is to be treated: what the file says, else what follows from its source."""
        fetched = self.source.kind == "git"
        return Traits(
            needs_weights=fetched if self.needs_weights is None else self.needs_weights,
            needs_setup=fetched if self.needs_setup is None else self.needs_setup,
            needs_context=fetched if self.needs_context is None else self.needs_context,
            made_for_gpu=fetched if self.made_for_gpu is None else self.made_for_gpu,
            temporal=self.temporal,
            reads=self.reads,
            outputs=tuple(dict.fromkeys(TASKS.get(task).output for task in self.tasks)),
        )
