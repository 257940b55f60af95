"""The task and its evaluation: the share of lights whose state is right, in all and by state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from admlops.catalog.tasks import Task
from admlops.evaluation.base import Accumulator, Column, Declared, MetricSpec, Needs
from admlops.evaluation.metrics import Metric
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from admlops.evaluation.context import Context
    from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
    from admlops.results.record import PartialRecord

STATES = ("red", "yellow", "green")
PROTOCOL = "lights.accuracy"


class Light(msgspec.Struct, frozen=True):
    """The light of a picture."""

    state: str
    confidence: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


TASK = Task(
    id="traffic_light_state",
    output="traffic_light",
    title="traffic lights",
    class_names=STATES,
    lists_classes=True,
    output_type=Light,
    names_in=lambda light: [light.state],
)


@dataclass
class Kept:
    """What the records say, by token."""

    states: list[str] = field(default_factory=list)

    def add(self, record: PartialRecord) -> None:
        light = record.traffic_light
        self.states.append("" if light is msgspec.UNSET else light.state)


@dataclass(frozen=True)
class Accuracy:
    """Right answers, and the true state of each sample."""

    protocol: str
    right: NDArray[np.bool_]
    truth: list[str]

    def metrics(self, dataset: str) -> list[Metric]:
        count = Counter(self.truth)
        values = {"accuracy": (float(self.right.mean()), len(self.truth))}
        for state in (state for state in STATES if count[state]):
            hits = [bool(ok) for ok, true in zip(self.right, self.truth, strict=True) if true == state]
            values[f"accuracy_{state}"] = (sum(hits) / len(hits), len(hits))
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=n, dataset=dataset)
            for name, (value, n) in values.items()
        ]

    def details(self) -> dict[str, Any]:
        return {"states": dict(Counter(self.truth))}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        import numpy as np

        each = weights[:, scenes]
        return {"accuracy": np.asarray((each * self.right).sum(axis=1) / each.sum(axis=1), dtype=float)}


@dataclass(frozen=True, kw_only=True)
class LightEvaluation(Declared):
    """Accuracy over the lights of a data set with the capability `lights`."""

    def begin(self, context: Context) -> Kept:
        return Kept()

    def finish(self, accumulator: Accumulator, context: Context) -> Accuracy:
        import numpy as np

        assert isinstance(accumulator, Kept)
        data: Any = context.data
        truth = [data.light(token) for token in context.tokens]
        right = np.array([said == true for said, true in zip(accumulator.states, truth, strict=True)])
        return Accuracy(protocol=self.protocol, right=right, truth=truth)


EVALUATION = LightEvaluation(
    id="lights",
    task=TASK.id,
    protocol=PROTOCOL,
    needs=Needs(key=TASK.output, record={TASK.output: Take.AS_IS}, data=("lights",)),
    metrics=(MetricSpec("accuracy"), MetricSpec("accuracy_{class}")),
    columns=(Column("accuracy"),),
    official="nobody has published any",
    slices=("scene",),
)
