"""Executors: who runs workers. `EXECUTORS` knows them by id; `execution/executor.py` is their interface.

They may import the rest of execution but the coordinator. To add one, write a class such as `local.LocalExecutor` and
call `EXECUTORS.register("mine", MyExecutor)` in an extension.
"""

from __future__ import annotations

from collections.abc import Callable

from admlops.core.registry import Registry
from admlops.execution.executor import Executor, ExecutorOptions

EXECUTORS: Registry[Callable[[ExecutorOptions], Executor]] = Registry(
    "executor",
    {
        "local": "admlops.execution.executors.local:LocalExecutor",
        "ray": "admlops.execution.executors.ray.executor:RayExecutor",
    },
)
