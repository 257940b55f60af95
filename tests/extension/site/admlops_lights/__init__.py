"""An extension: the state of the traffic light in a picture, from the data to the report.

It registers a task with its evaluation and protocol, a data kind, a runtime, an installer and an executor.
"""

from __future__ import annotations

from pathlib import Path

from admlops.catalog.registries import DATA_KINDS, EVALUATIONS, INSTALLERS, RUNTIMES, TASKS
from admlops.catalog.runtimes import Runtime
from admlops.execution.executors import EXECUTORS
from admlops_lights.executor import InTurn
from admlops_lights.installer import INSTALLER
from admlops_lights.pictures import KIND
from admlops_lights.task import EVALUATION, TASK

TASKS.register(TASK.id, TASK)
EVALUATIONS.register(EVALUATION.id, EVALUATION)
DATA_KINDS.register(KIND.id, KIND)
RUNTIMES.register("counting", Runtime(id="counting", file=Path(__file__).with_name("runtime.py")))
INSTALLERS.register(INSTALLER.id, INSTALLER)
EXECUTORS.register("in-turn", InTurn)
