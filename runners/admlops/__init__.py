"""admlops: run and compare driving-perception models, each in an environment of its own.

`import admlops` costs nothing; the Python API (`admlops.api`, docs/api.md) is loaded when one of its names is used:

    import admlops

    run = admlops.open_run("first")
    run.metrics["NDS"].value

`__init__.pyi` tells type checkers of these names, so that nothing here imports an upper room.
"""

__version__ = "0.2.0"

__all__ = [
    "AdmlopsError",
    "Battle",
    "CancelToken",
    "Comparison",
    "Metric",
    "Metrics",
    "Record",
    "Run",
    "RunEvent",
    "RunningRun",
    "__version__",
    "battle",
    "compare",
    "evaluate",
    "list_runs",
    "make_tables",
    "open_run",
    "plot_latency",
    "plot_parts",
    "plot_precision_recall",
    "plot_scores",
    "report",
    "run",
    "start",
]


def __getattr__(name: str) -> object:
    """Load the API on the first use of one of its names."""
    if name not in __all__:
        raise AttributeError(f"module 'admlops' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("admlops.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
