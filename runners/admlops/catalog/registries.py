"""What can be added to admlops without touching it: a registry for each kind of thing.

An id stands for "module:attribute", often in an upper room, imported when it is asked for. The modules named here
import no numerical library, so `model.toml` files are read at once. An extension registers its own, as `core.registry`
says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from admlops.catalog.runtimes import Runtime
from admlops.catalog.tasks import Task
from admlops.core.registry import Registry

TASKS: Registry[Task] = Registry(
    "task",
    {
        "detection_3d": "admlops.catalog.tasks:DETECTION_3D",
        "vector_map": "admlops.catalog.tasks:VECTOR_MAP",
        "lane_graph": "admlops.catalog.tasks:LANE_GRAPH",
        "planning": "admlops.catalog.tasks:PLANNING",
        "motion": "admlops.catalog.tasks:MOTION",
        "detection_2d": "admlops.catalog.tasks:DETECTION_2D",
        "car_presence": "admlops.catalog.tasks:CAR_PRESENCE",
        "calibration_status": "admlops.catalog.tasks:CALIBRATION_STATUS",
    },
)

DATA_KINDS: Registry[Any] = Registry(
    "data kind",
    {
        "nuscenes": "admlops.datasets.nuscenes.kind:KIND",
        "openlanev2": "admlops.datasets.openlane.kind:KIND",
        "images": "admlops.datasets.images.kind:KIND",
        "nuscenes-12hz": "admlops.datasets.nuscenes.kind:STREAM_KIND",
    },
)
"""The things are of the type `datasets.base.DataKind`."""


class MetricEntry(Protocol):
    """One metric of an evaluation. A name that ends in `{class}` stands for one metric per class of the data."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str:
        """`m`, `rad`, `m/s`, `1/s`; empty for a share."""

    @property
    def higher_is_better(self) -> bool: ...
    def covers(self, name: str) -> bool:
        """Tell whether `name` is this metric's, with a class in place of `{class}`."""


class ColumnEntry(Protocol):
    """A metric that tables show. `path` is where a slice in metrics.json holds it; empty: under its name."""

    @property
    def metric(self) -> str: ...
    @property
    def digits(self) -> int: ...
    @property
    def path(self) -> tuple[str, ...]: ...


class EvaluationEntry(Protocol):
    """What the catalogue and tables ask of an evaluation; `evaluation.base.Evaluation` is the whole of it."""

    @property
    def id(self) -> str:
        """Its key in `details` of metrics.json."""

    @property
    def task(self) -> str: ...
    @property
    def protocol(self) -> str:
        """The id that says classes, ranges, thresholds, averaging and the evaluator's version."""

    @property
    def metrics(self) -> Sequence[MetricEntry]: ...
    @property
    def columns(self) -> Sequence[ColumnEntry]:
        """Return what tables and comparisons show, in this order; empty for every metric."""

    @property
    def headlines(self) -> Mapping[str, str]:
        """The few metrics that represent it in comparisons of models: metric → heading of its column."""

    @property
    def slices(self) -> tuple[str, ...]:
        """The slices of the data that it gives metrics of, such as `scene` and `distance`."""

    @property
    def on_request(self) -> bool:
        """Tell whether it runs only where a model's catalogue names the protocol, or a user does."""


EVALUATIONS: Registry[EvaluationEntry] = Registry(
    "evaluation",
    {
        "detection": "admlops.evaluation.detection_3d.declarations:DETECTION",
        "vad_detection": "admlops.evaluation.detection_3d.declarations:VAD_DETECTION",
        "map": "admlops.evaluation.vector_map.declarations:MAP",
        "map_iou": "admlops.evaluation.vector_map.declarations:MAP_IOU",
        "map_centerline": "admlops.evaluation.vector_map.declarations:MAP_CENTERLINE",
        "motion": "admlops.evaluation.motion.declarations:MOTION",
        "plan": "admlops.evaluation.planning.declarations:PLAN",
        "plan_uniad": "admlops.evaluation.planning.declarations:PLAN_UNIAD",
        "lane_graph": "admlops.evaluation.lane_graph.declarations:LANE_GRAPH",
        "lane_graph_1_0": "admlops.evaluation.lane_graph.declarations:LANE_GRAPH_1_0",
        "cars": "admlops.evaluation.detection_2d.declarations:CARS",
        "cars_merged": "admlops.evaluation.detection_2d.declarations:CARS_MERGED",
        "boxes_2d": "admlops.evaluation.detection_2d.declarations:BOXES_2D",
        "counting": "admlops.evaluation.detection_2d.declarations:COUNTING",
        "car_count": "admlops.evaluation.detection_2d.declarations:CAR_COUNT",
        "car_presence": "admlops.evaluation.car_presence.declarations:PRESENCE",
        "calibration_status": "admlops.evaluation.calibration_status.declarations:STATUS",
        "latency": "admlops.evaluation.latency.declarations:LATENCY",
        "streaming": "admlops.evaluation.streaming.declarations:COPY",
        "streaming_velocity": "admlops.evaluation.streaming.declarations:VELOCITY",
        "streaming_map": "admlops.evaluation.streaming.declarations:MAP",
        "staleness": "admlops.evaluation.streaming.declarations:STALENESS",
    },
)

RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    {
        "torch": "admlops.catalog.runtimes:TORCH",
        "onnxruntime": "admlops.catalog.runtimes:ONNXRUNTIME",
        "tensorrt": "admlops.catalog.runtimes:TENSORRT",
    },
)
"""What executes a network."""


class NamedInstaller(Protocol):
    """What the catalogue knows of an installer; `environments.install.installer.Installer` is the whole protocol."""

    @property
    def id(self) -> str:
        """The id that `installers` of a variant names."""


INSTALLERS: Registry[NamedInstaller] = Registry(
    "installer",
    {
        "conda": "admlops.environments.install.conda.installer:INSTALLER",
        "venv": "admlops.environments.install.venv:INSTALLER",
    },
)
"""How the prefix of an environment is filled."""


class NamedFormat(Protocol):
    """What the command line asks of a results file's format; `evaluation.submissions.base` has the whole protocol."""

    @property
    def id(self) -> str:
        """The id that `--format` names."""

    @property
    def exports(self) -> bool:
        """Tell whether runs can be written in it."""


SUBMISSION_FORMATS: Registry[NamedFormat] = Registry(
    "submission format",
    {
        "nuscenes": "admlops.evaluation.submissions.nuscenes:FORMAT",
        "maptr": "admlops.evaluation.submissions.maptr:FORMAT",
        "openlanev2": "admlops.evaluation.submissions.openlane:FORMAT",
        "vad": "admlops.evaluation.submissions.vad:FORMAT",
        "uniad": "admlops.evaluation.submissions.uniad:FORMAT",
        "uniad-1.0": "admlops.evaluation.submissions.uniad:FORMAT_1_0",
        "coco": "admlops.evaluation.submissions.coco:FORMAT",
    },
)
"""Files with results made elsewhere, which `admlops evaluate` takes."""


DATA_FORMATS: Registry[Any] = Registry(
    "form of driving data",
    {
        "coco": "admlops.conversion.formats.coco:FORMAT",
        "yolo": "admlops.conversion.formats.yolo:FORMAT",
        "kitti": "admlops.conversion.formats.kitti:FORMAT",
        "mmdet3d-infos": "admlops.conversion.formats.mmdet3d:FORMAT",
        "openlabel": "admlops.conversion.formats.openlabel:FORMAT",
        "own": "admlops.conversion.formats.own:FORMAT",
        "t4": "admlops.conversion.formats.t4:FORMAT",
        "nuscenes": "admlops.conversion.formats.nuscenes:FORMAT",
        "images": "admlops.conversion.formats.images:FORMAT",
    },
)
"""The things are of the type `conversion.base.DataFormat`; data are recognised in this order."""

MINING_RULES: Registry[Any] = Registry(
    "rule of mining",
    {
        "worst": "admlops.mining.rules.worst:RULE",
        "disagreement": "admlops.mining.rules.disagreement:RULE",
        "flicker": "admlops.mining.rules.flicker:RULE",
        "uncertainty": "admlops.mining.rules.uncertainty:RULE",
        "rare": "admlops.mining.rules.rare:RULE",
    },
)
"""The things are of the type `mining.rules.base.MiningRule`."""

ANNOTATION_TOOLS: Registry[Any] = Registry(
    "annotation tool",
    {
        "csv": "admlops.mining.tools.class_csv:TOOL",
        "cvat": "admlops.mining.tools.cvat:TOOL",
        "labelstudio": "admlops.mining.tools.labelstudio:TOOL",
        "openlabel": "admlops.mining.tools.openlabel:TOOL",
    },
)
"""The things are of the type `mining.tools.base.AnnotationTool`."""


class NamedTrainer(Protocol):
    """What the catalogue knows of a trainer; `training.trainer.Trainer` is the whole protocol."""

    @property
    def id(self) -> str:
        """The id that `[training]` of a model names."""


TRAINERS: Registry[NamedTrainer] = Registry(
    "trainer",
    {
        "samples": "admlops.training.trainers.samples:TRAINER",
        "mmlab-v1": "admlops.training.trainers.mmlab_v1:TRAINER",
        "pictures": "admlops.training.trainers.pictures:TRAINER",
    },
)
"""How a model is trained: what its program is given, and what is prepared before."""
