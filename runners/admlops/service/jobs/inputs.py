"""The inputs of endpoints: their shapes, which are JSON Schemas too. `checks.py` checks them against this machine."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from admlops.core.errors import UsageError

Model = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$", description="A model of the catalogue.", examples=["MapTR"]),
]
Contender = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}(@[a-z]+(:[a-z0-9_]+)?)?$",
        description="A model of the catalogue, also with an engine behind an @.",
        examples=["MapTR", "MapTR@onnx"],
    ),
]
RunName = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$", description="A run below the repository's runs/."),
]
Side = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}(@[a-z]+(:[a-z0-9_]+)?)?$",
        description="A model of the catalogue, also with an engine behind an @, or a run.",
    ),
]
Name = Annotated[str, Meta(pattern=r"^[^\x00-\x1f/\\]{1,128}$")]
MetricName = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._@/-]{0,255}$",
        description="The primary metric of battles; left out: the first headline that both have.",
        examples=["AP50", "nuscenes.detection_cvpr_2019/NDS"],
    ),
]
Data = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]{1,1024}$",
        description="A data set's root: a path below an allowed root, absolute or relative to one; "
        "left out: the usual one.",
        examples=["nuscenes"],
    ),
]
Device = Annotated[
    str,
    Meta(
        pattern=r"^(auto|cpu|all|cuda:\d{1,3}(,cuda:\d{1,3})*)$",
        description="auto takes every visible GPU, or the CPU if there is none.",
        examples=["cuda:0"],
    ),
]
Engine = Annotated[
    str,
    Meta(pattern=r"^[a-z]+(:[a-z0-9_]+)?$", description="What executes the network.", examples=["onnx", "onnx:fp16"]),
]
RandomWeights = Annotated[
    str, Meta(pattern=r"^random:\d{1,9}$", description="Weights drawn from a seed: to try a model, not to judge it.")
]
Corrupt = Annotated[
    str,
    Meta(
        pattern=r"^[a-z]+(-[a-z]+)*:[123]$",
        description="A fault of the sensors, and its level.",
        examples=["fog:2"],
    ),
]
Options = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")],
        Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._,:-]{0,127}$")],
    ],
    Meta(description="Options that the model's catalogue entry lists.", examples=[{"command": "straight"}]),
]
Workers = Annotated[int, Meta(ge=1, le=64, description="Worker processes on each device.")]
Samples = Annotated[int, Meta(ge=1, description="At most so many samples.")]
BatchSize = Annotated[int, Meta(ge=1, le=4096)]
Scenes = Annotated[list[Name], Meta(max_length=10_000, description="Scenes by name, in place of a split.")]
Condition = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]{1,1000}$",
        description="Take the scenes with samples where this holds, and evaluate these alone. Tags: the built-in ones.",
        examples=["tag = 'night' and speed < 5"],
    ),
]
Precision = Literal["authors", "float32", "tf32", "half"]


class ListedImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture, and what is known of it."""

    image_path: Annotated[
        str,
        Meta(
            pattern=r"^[^\x00-\x1f]{1,2000}$",
            description="An https address, or a path below an allowed root.",
            examples=["https://example.org/street.jpg"],
        ),
    ]
    car_count: Annotated[int, Meta(ge=0, le=1_000_000, description="How many cars it shows.")] | None = None
    description: Annotated[str, Meta(max_length=1000)] | None = None
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="Of the file's content.")] | None = None


Images = Annotated[list[ListedImage], Meta(max_length=10_000, description="Pictures, in place of `data`.")]


class Selected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On what to run, and how: what `run`, `compare` and `battle` share.

    Attributes:
        off_distribution: allow data that a model was not made for; the numbers say so.
        estimate_energy: let codecarbon estimate the energy where none is measured.
    """

    data: Data | None = None
    images: Images = []
    version: Name | None = None
    split: Name | None = None
    scenes: Scenes = []
    where: Condition | None = None
    limit: Samples | None = None
    complete_scenes: bool = False
    variant: Name | None = None
    device: Device = "auto"
    workers: Workers = 1
    precision: Precision = "authors"
    batch: BatchSize | Literal["auto"] = 1
    estimate_energy: bool = False

    def __post_init__(self) -> None:
        if self.scenes and self.split is not None:
            raise ValueError("`scenes` and `split` exclude each other")
        if self.images and self.data is not None:
            raise ValueError("`images` and `data` exclude each other")
        if self.images and self.where is not None:
            raise ValueError("`images` and `where` exclude each other: listed pictures have no tables")


class RunInput(Selected, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run a model over scenes, evaluate the run, and write its report.

    Attributes:
        config, checkpoint: names in the model's catalogue entry.
        stream: take the data set's inputs at 12 Hz; outputs count from when they are ready.
        throughput: search the count of workers, up to `workers` where that is above 1, that do most samples a second.
    """

    model: Model
    config: Name | None = None
    checkpoint: Name | None = None
    weights: RandomWeights | None = None
    engine: Engine | None = None
    options: Options = {}
    off_distribution: bool = False
    stream: bool = False
    corrupt: Corrupt | None = None
    throughput: bool = False
    evaluate: bool = True
    report: bool = True


class CompareInput(Selected, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run what is missing of several models, evaluate, and put them side by side.

    Attributes:
        also: a second data set, for models that `data` is not for.
        random_weights: run models whose weights are missing with random ones.
        submissions: runs of results files, which stand beside the models.
        together: run as many models at once as have room; their times are then shared, and not ranked.
    """

    models: Annotated[list[Contender], Meta(min_length=1, max_length=64)]
    also: Data | None = None
    random_weights: bool = False
    together: bool = False
    metric: MetricName | None = None
    submissions: Annotated[list[RunName], Meta(max_length=64)] = []


class BattleInput(Selected, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put two models or runs against each other on the same samples, and say who wins."""

    model_a: Side
    model_b: Side
    random_weights: bool = False
    metric: MetricName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_a == self.model_b:
            raise ValueError("`model_a` and `model_b` are the same: that is always a tie")


class EvaluateInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compute the official metrics of a run, and write its report.

    Attributes:
        official: run the official code as well, in environments of its own.
        protocols: protocols that are evaluated on request.
    """

    run: RunName
    data: Data | None = None
    official: bool = False
    protocols: Annotated[list[Name], Meta(max_length=32)] = []
    report: bool = True


class ExportInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a model's network as a file that other runtimes execute.

    Attributes:
        form: which of the model's networks, if it has several.
        calibrate: the split that int8 ranges are taken from.
    """

    model: Model
    precision: Literal["auto", "fp32", "fp32_tf32", "fp16", "int8"] = "auto"
    checkpoint: Name | None = None
    weights: RandomWeights | None = None
    config: Name | None = None
    variant: Name | None = None
    options: Options = {}
    opset: Annotated[int, Meta(ge=16, le=20)] = 17
    form: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "default"
    calibrate: Name | None = None
    calibration_samples: Annotated[int, Meta(ge=1, le=100_000)] = 64
    data: Data | None = None
    version: Name | None = None


Input = TypeVar("Input", bound=Struct)


def schema_of(shape: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an input."""
    _, components = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    own = components.pop(shape.__name__)
    own["description"] = inspect.cleandoc(own.get("description", ""))
    more = {"$defs": components} if components else {}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, **more}


def decode_input(shape: type[Input], given: Any, *, endpoint: str) -> Input:
    """Return an input of this shape.

    Raises:
        UsageError: it has another; the message names the key.
    """
    try:
        _refuse_control_characters(given)
        return msgspec.convert(given, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise UsageError(
            f"input of {endpoint}: {error}",
            hint=f"look at the schema of the endpoint; it takes: {', '.join(shape.__struct_fields__)}",
        ) from error


def _refuse_control_characters(value: Any) -> None:
    """Raise ValidationError for a text with one: the `$` of a pattern also matches before a last newline."""
    if isinstance(value, str) and not value.isprintable():
        raise msgspec.ValidationError(f"{value[:60]!r} holds a character that cannot be printed")
    if isinstance(value, dict):
        for part in value.items():
            _refuse_control_characters(part)
    elif isinstance(value, list | tuple):
        for one in value:
            _refuse_control_characters(one)
