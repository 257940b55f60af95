"""The tables and views of results, for people who query them in SQL: `comparison_results`, `runs`, `metrics`.

Times are ISO 8601 texts in UTC, as in the files; durations are seconds. A name that ends in `_sha256` is a digest; two
values compare only where metric, protocol and `samples_sha256` are the same, and for speeds `device` and `precision` as
well.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from admlops.service.queue.tables import METADATA, NUMBER

NAME = 255

RUNS = Table(
    "runs",
    METADATA,
    Column("run", String(NAME), primary_key=True),
    Column("model", String(NAME), nullable=False),
    Column("variant", String(NAME), nullable=False),
    Column("engine", String(NAME)),  # NULL: the model's own PyTorch network
    Column("precision", Text),
    Column("state", String(16), nullable=False),  # running, complete, failed, cancelled, stopped
    Column("created", String(40), nullable=False),
    Column("data_kind", String(NAME), nullable=False),
    Column("data_version", String(NAME), nullable=False),
    Column("split", String(NAME)),
    Column("samples_sha256", String(64), nullable=False),
    Column("synthetic", Boolean, nullable=False),
    Column("random_weights", String(NAME)),
    Column("submission", Text),  # the results file that the records came from; NULL: a model ran here
    Column("device_kind", String(16), nullable=False),
    Column("device", Text),
    Column("environment_digest", String(NAME), nullable=False),
    Column("code_commit", String(64)),
    Column("scenes", Integer, nullable=False),
    Column("complete_scenes", Integer, nullable=False),
    Column("samples", Integer, nullable=False),  # how many the run covers
    Column("complete_samples", Integer, nullable=False),
    Column("failed_samples", Integer, nullable=False),
    Column("evaluated", Boolean, nullable=False),
    Column("latency_verdict", String(16)),
    Column("inference_mean_s", Double),
    Column("inference_p50_s", Double),
    Column("end_to_end_mean_s", Double),
    Column("end_to_end_p50_s", Double),
    Column("energy_j_per_sample", Double),
    Column("tags", Text, nullable=False),  # with a comma and a space between them
    Column("folder", Text, nullable=False),
    Column("files", Text, nullable=False),  # how the files that the row was read from stood
)

METRICS = Table(
    "metrics",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("run", String(NAME), ForeignKey("runs.run", ondelete="CASCADE"), nullable=False),
    Column("name", String(NAME), nullable=False),
    Column("protocol", String(NAME), nullable=False),
    Column("value", Double),  # NULL: the protocol leaves it undefined
    Column("unit", String(16), nullable=False),  # empty for a share
    Column("higher_is_better", Boolean, nullable=False),
    Column("headline", Boolean, nullable=False),
    Column("n", Integer, nullable=False),
    Column("interval_low", Double),  # of 95 %
    Column("interval_high", Double),
    Column("samples_sha256", String(64), nullable=False),
    Column("device", Text),
    Column("precision", Text),
)

COMPARISONS = Table(
    "comparisons",
    METADATA,
    Column("comparison", String(NAME), primary_key=True),  # its folder's name
    Column("created", String(40), nullable=False),
    Column("models", Text, nullable=False),  # with a comma and a space between them
    Column("data_version", String(NAME), nullable=False),
    Column("synthetic", Boolean, nullable=False),
    Column("folder", Text, nullable=False),
    Column("files", Text, nullable=False),
)

COMPARISON_RESULTS = Table(
    "comparison_results",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("comparison", String(NAME), ForeignKey("comparisons.comparison", ondelete="CASCADE"), nullable=False),
    Column("created", String(40), nullable=False),
    Column("question", String(NAME), nullable=False),  # score, and beside it speed, memory, energy
    Column("model_a", String(NAME), nullable=False),
    Column("model_b", String(NAME), nullable=False),
    Column("run_a", String(NAME), nullable=False),
    Column("run_b", String(NAME), nullable=False),
    Column("verdict", String(32), nullable=False),  # winner, tie, not decided, not comparable
    Column("winner", String(NAME)),  # NULL unless the verdict is `winner`: always where protocols differ
    Column("reason", Text, nullable=False),
    Column("metric", String(NAME), nullable=False),
    Column("protocol", String(NAME), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("higher_is_better", Boolean, nullable=False),
    Column("value_a", Double),
    Column("value_b", Double),
    Column("difference", Double),  # b - a
    Column("interval_low", Double),  # of the difference, 95 %
    Column("interval_high", Double),
    Column("p_value", Double),
    Column("n", Integer),
    Column("metrics", Text, nullable=False),  # JSON: [{metric, protocol, a, b, difference, interval, p_value}]
)

UNREADABLE = Table(
    "unreadable",
    METADATA,
    Column("folder", String(NAME), primary_key=True),
    Column("reason", Text, nullable=False),
)

Index("ix_runs_created", RUNS.c.created)
Index("ix_runs_model", RUNS.c.model)
Index("ix_metrics_run", METRICS.c.run)
Index("ix_metrics_name", METRICS.c.name, METRICS.c.protocol, METRICS.c.samples_sha256)
Index("ix_comparison_results_comparison", COMPARISON_RESULTS.c.comparison)

RESULT_TABLES = (RUNS, METRICS, COMPARISONS, COMPARISON_RESULTS, UNREADABLE)
"""Two views stand beside them: `run_metrics` has each run's metrics, `battles` the score alone of the questions."""
