"""What pages ask of the result tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, or_, select

from admlops.service.queue.database import Database
from admlops.service.result_tables.tables import COMPARISON_RESULTS, COMPARISONS, METRICS, RUNS, UNREADABLE

PAGE = 50
Row = RowMapping

FILTERS = ("model", "data", "protocol", "state")


def list_runs(database: Database, wanted: Mapping[str, str], *, page: int = 1) -> tuple[list[dict[str, Any]], int]:
    """Return a page of the runs, the latest first, each with its headline metrics, and how many there are in all.

    Args:
        wanted: `model`, `state`, `protocol`, `data` (a data set's version) and `text`, a part of the run's name or
            tags; what is empty takes all.
    """
    with database.read() as connection:
        statement = _choose(select(RUNS), wanted)
        total = connection.execute(select(func.count()).select_from(statement.subquery())).scalar_one()
        ordered = statement.order_by(RUNS.c.created.desc(), RUNS.c.run).limit(PAGE).offset((page - 1) * PAGE)
        rows = [dict(row) for row in connection.execute(ordered).mappings()]
        headlines = _read_headlines(connection, [row["run"] for row in rows], wanted.get("protocol", ""))
    return [{**row, "headlines": headlines.get(row["run"], [])} for row in rows], total


def _choose(statement: Select[Any], wanted: Mapping[str, str]) -> Select[Any]:
    columns = {"model": RUNS.c.model, "state": RUNS.c.state, "data": RUNS.c.data_version}
    for name, column in columns.items():
        if wanted.get(name):
            statement = statement.where(column == wanted[name])
    if wanted.get("protocol"):
        has = select(METRICS.c.run).where(METRICS.c.protocol == wanted["protocol"])
        statement = statement.where(RUNS.c.run.in_(has))
    if wanted.get("text"):
        part = wanted["text"].lower()
        found = (func.lower(column).contains(part, autoescape=True) for column in (RUNS.c.run, RUNS.c.tags))
        statement = statement.where(or_(*found))
    return statement


def _read_headlines(connection: Connection, runs: Sequence[str], protocol: str) -> dict[str, list[Row]]:
    if not runs:
        return {}
    conditions: list[ColumnElement[bool]] = [
        METRICS.c.run.in_(runs),
        METRICS.c.headline.is_(True),
        METRICS.c.value.is_not(None),
    ]
    if protocol:
        conditions.append(METRICS.c.protocol == protocol)
    found: dict[str, list[Row]] = {}
    for row in connection.execute(select(METRICS).where(*conditions).order_by(METRICS.c.number)).mappings():
        found.setdefault(row["run"], []).append(row)
    return found


def list_choices(database: Database) -> dict[str, list[str]]:
    """Return what runs can be chosen by: models, data, protocols and states that there are."""
    columns = {
        "model": RUNS.c.model,
        "data": RUNS.c.data_version,
        "protocol": METRICS.c.protocol,
        "state": RUNS.c.state,
    }
    with database.read() as connection:
        return {
            name: list(connection.execute(select(column).distinct().order_by(column)).scalars())
            for name, column in columns.items()
        }


def count_runs(database: Database) -> int:
    """Return how many runs there are."""
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(RUNS)).scalar_one())


def list_names(database: Database, *, evaluated: bool = False, limit: int = 500) -> list[str]:
    """Return the names of runs, the latest first."""
    statement = select(RUNS.c.run).order_by(RUNS.c.created.desc()).limit(limit)
    if evaluated:
        statement = statement.where(RUNS.c.evaluated.is_(True))
    with database.read() as connection:
        return list(connection.execute(statement).scalars())


def get_run(database: Database, name: str) -> tuple[Row, list[Row]] | None:
    """Return a run and its metrics; None where there is none of that name."""
    with database.read() as connection:
        row = connection.execute(select(RUNS).where(RUNS.c.run == name)).mappings().first()
        if row is None:
            return None
        metrics = connection.execute(select(METRICS).where(METRICS.c.run == name).order_by(METRICS.c.number))
        return row, list(metrics.mappings())


def list_unreadable(database: Database) -> list[Row]:
    """Return the folders that could not be read, and why."""
    with database.read() as connection:
        return list(connection.execute(select(UNREADABLE).order_by(UNREADABLE.c.folder)).mappings())


def list_comparisons(database: Database, *, page: int = 1) -> tuple[list[dict[str, Any]], int]:
    """Return a page of the comparisons, the latest first, each with its battles, and how many there are in all."""
    with database.read() as connection:
        total = connection.execute(select(func.count()).select_from(COMPARISONS)).scalar_one()
        ordered = select(COMPARISONS).order_by(COMPARISONS.c.created.desc()).limit(PAGE).offset((page - 1) * PAGE)
        rows = [dict(row) for row in connection.execute(ordered).mappings()]
        names = [row["comparison"] for row in rows]
        mine = and_(COMPARISON_RESULTS.c.comparison.in_(names), COMPARISON_RESULTS.c.question == "score")
        battles: dict[str, list[Row]] = {}
        for one in connection.execute(
            select(COMPARISON_RESULTS).where(mine).order_by(COMPARISON_RESULTS.c.number)
        ).mappings():
            battles.setdefault(one["comparison"], []).append(one)
    return [{**row, "battles": battles.get(row["comparison"], [])} for row in rows], total


def get_comparison(database: Database, name: str) -> tuple[Row, list[Row]] | None:
    """Return a comparison and its questions; None where there is none of that name."""
    with database.read() as connection:
        row = connection.execute(select(COMPARISONS).where(COMPARISONS.c.comparison == name)).mappings().first()
        if row is None:
            return None
        mine = COMPARISON_RESULTS.c.comparison == name
        results = connection.execute(select(COMPARISON_RESULTS).where(mine).order_by(COMPARISON_RESULTS.c.number))
        return row, list(results.mappings())


def list_series(database: Database) -> list[Row]:
    """Return the headlines that runs have, by name, protocol and samples, and how many runs have each."""
    key = (METRICS.c.name, METRICS.c.protocol, METRICS.c.samples_sha256)
    statement = (
        select(
            *key,
            func.count().label("runs"),
            func.max(RUNS.c.data_version).label("data_version"),
            func.max(RUNS.c.split).label("split"),
            func.max(METRICS.c.n).label("n"),
            func.max(METRICS.c.unit).label("unit"),
        )
        .join(RUNS, RUNS.c.run == METRICS.c.run)
        .where(METRICS.c.value.is_not(None), METRICS.c.headline.is_(True))
        .group_by(*key)
        .order_by(func.count().desc(), METRICS.c.protocol, METRICS.c.name)
    )
    with database.read() as connection:
        return list(connection.execute(statement).mappings())


def read_history(database: Database, name: str, protocol: str, samples: str) -> list[Row]:
    """Return the values of a metric over runs on the same samples, the oldest first."""
    statement = (
        select(METRICS, RUNS.c.model, RUNS.c.variant, RUNS.c.engine, RUNS.c.created, RUNS.c.random_weights)
        .join(RUNS, RUNS.c.run == METRICS.c.run)
        .where(
            METRICS.c.name == name,
            METRICS.c.protocol == protocol,
            METRICS.c.samples_sha256 == samples,
            METRICS.c.value.is_not(None),
        )
        .order_by(RUNS.c.created)
    )
    with database.read() as connection:
        return list(connection.execute(statement).mappings())
