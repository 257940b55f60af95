"""Results for people who query them: runs, metrics, comparisons, and views of them.

All of it can be read from the files again: a later revision may drop the tables and make them anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
VIEWS = {
    "run_metrics": (
        "SELECT metrics.run, runs.model, runs.variant, runs.engine, runs.created, runs.data_version, runs.split, "
        "runs.synthetic, runs.random_weights, metrics.name, metrics.protocol, metrics.value, metrics.unit, "
        "metrics.higher_is_better, metrics.headline, metrics.n, metrics.interval_low, metrics.interval_high, "
        "metrics.samples_sha256, metrics.device, metrics.precision "
        "FROM metrics JOIN runs ON runs.run = metrics.run"
    ),
    "battles": "SELECT * FROM comparison_results WHERE question = 'score'",
}
"""Metrics beside their run, and battles without the questions beside the score."""


def upgrade() -> None:
    """Make tables, then views."""
    _make_runs()
    _make_comparisons()
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("variant", sa.String(255), nullable=False),
        sa.Column("engine", sa.String(255)),
        sa.Column("precision", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("data_kind", sa.String(255), nullable=False),
        sa.Column("data_version", sa.String(255), nullable=False),
        sa.Column("split", sa.String(255)),
        sa.Column("samples_sha256", sa.String(64), nullable=False),
        sa.Column("synthetic", sa.Boolean, nullable=False),
        sa.Column("random_weights", sa.String(255)),
        sa.Column("submission", sa.Text),
        sa.Column("device_kind", sa.String(16), nullable=False),
        sa.Column("device", sa.Text),
        sa.Column("environment_digest", sa.String(255), nullable=False),
        sa.Column("code_commit", sa.String(64)),
        sa.Column("scenes", sa.Integer, nullable=False),
        sa.Column("complete_scenes", sa.Integer, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("complete_samples", sa.Integer, nullable=False),
        sa.Column("failed_samples", sa.Integer, nullable=False),
        sa.Column("evaluated", sa.Boolean, nullable=False),
        sa.Column("latency_verdict", sa.String(16)),
        sa.Column("inference_mean_s", sa.Double),
        sa.Column("inference_p50_s", sa.Double),
        sa.Column("end_to_end_mean_s", sa.Double),
        sa.Column("end_to_end_p50_s", sa.Double),
        sa.Column("energy_j_per_sample", sa.Double),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_runs"),
    )
    op.create_index("ix_runs_created", "runs", ["created"])
    op.create_index("ix_runs_model", "runs", ["model"])
    op.create_table(
        "metrics",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("protocol", sa.String(255), nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("higher_is_better", sa.Boolean, nullable=False),
        sa.Column("headline", sa.Boolean, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("interval_low", sa.Double),
        sa.Column("interval_high", sa.Double),
        sa.Column("samples_sha256", sa.String(64), nullable=False),
        sa.Column("device", sa.Text),
        sa.Column("precision", sa.Text),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_metrics_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_metrics"),
    )
    op.create_index("ix_metrics_name", "metrics", ["name", "protocol", "samples_sha256"])
    op.create_index("ix_metrics_run", "metrics", ["run"])


def _make_comparisons() -> None:
    op.create_table(
        "comparisons",
        sa.Column("comparison", sa.String(255), nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("data_version", sa.String(255), nullable=False),
        sa.Column("synthetic", sa.Boolean, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("comparison", name="pk_comparisons"),
    )
    op.create_table(
        "comparison_results",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("comparison", sa.String(255), nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("question", sa.String(255), nullable=False),
        sa.Column("model_a", sa.String(255), nullable=False),
        sa.Column("model_b", sa.String(255), nullable=False),
        sa.Column("run_a", sa.String(255), nullable=False),
        sa.Column("run_b", sa.String(255), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("winner", sa.String(255)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("metric", sa.String(255), nullable=False),
        sa.Column("protocol", sa.String(255), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("higher_is_better", sa.Boolean, nullable=False),
        sa.Column("value_a", sa.Double),
        sa.Column("value_b", sa.Double),
        sa.Column("difference", sa.Double),
        sa.Column("interval_low", sa.Double),
        sa.Column("interval_high", sa.Double),
        sa.Column("p_value", sa.Double),
        sa.Column("n", sa.Integer),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison"],
            ["comparisons.comparison"],
            name="fk_comparison_results_comparison_comparisons",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("number", name="pk_comparison_results"),
    )
    op.create_index("ix_comparison_results_comparison", "comparison_results", ["comparison"])
    op.create_table(
        "unreadable",
        sa.Column("folder", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("folder", name="pk_unreadable"),
    )


def downgrade() -> None:
    """Drop all."""
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    for name in ("unreadable", "comparison_results", "comparisons", "metrics", "runs"):
        op.drop_table(name)
