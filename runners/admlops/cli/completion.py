"""What a shell offers while an argument is being typed: names of models, variants, runs, scenes, splits, checkpoints.

Each function is a `shell_complete` of click's. A shell waits for it, so names are read from folders and TOML files
directly, without the rooms that validate them; what cannot be read offers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from admlops.core.paths import Layout

Offers = list[str] | list[CompletionItem]

SPLITS = ("train", "val", "test", "all", "mini_train", "mini_val")
MAX_TABLE_BYTES = 20_000_000
"""A larger table of scenes is not read while somebody waits for a key."""


def complete_models(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the models of the catalogue."""
    return _matching(_models(), incomplete)


def complete_model_lists(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer models for a list with commas, `A,B`; what stands before the last comma stays."""
    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [f"{before}{comma}{one}" for one in _matching([*_models(), "all"], last) if one not in named]


def complete_environments(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer what `env` commands take: models, official evaluators, tools, folders of environments."""
    layout = _layout()
    if layout is None:
        return []
    grouped = (
        f"{group}/{name}"
        for group in ("official", "tools")
        for name in _folders_with(layout.envs / group, "environment.toml")
    )
    built = (name for name in _names(layout.environments) if not name.startswith(".") and not name.endswith(".lock"))
    return _matching([*_models(), *grouped, *(built if incomplete else ())], incomplete)


def complete_variants(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the variants of the model that is named before, of all models without one."""
    return _matching(_keys_of_models(ctx, "variants"), incomplete)


def complete_checkpoints(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Offers:
    """Offer the checkpoints of the model that is named before, and files where none begins so."""
    return _or_files(_matching(_keys_of_models(ctx, "checkpoints"), incomplete), incomplete)


def complete_configs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Offers:
    """Offer the configs of the model that is named before, and files where none begins so."""
    return _or_files(_matching(_keys_of_models(ctx, "configs"), incomplete), incomplete)


def complete_runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the runs on disk, the newest first."""
    layout = _layout()
    if layout is None:
        return []
    return sorted(_matching(_folders_with(layout.runs, "run.json"), incomplete), key=_newest_first(layout.runs))


def complete_runs_or_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """Offer the runs on disk, and files where none begins so."""
    return _or_files(complete_runs(ctx, param, incomplete), incomplete)


def complete_health_checks(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the health checks, those of extensions too."""
    from admlops.pipeline.health.check import HEALTH_CHECKS

    return _matching(HEALTH_CHECKS.ids(), incomplete)


def complete_splits(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the splits of both kinds of data."""
    return _matching(SPLITS, incomplete)


def complete_versions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the versions that the data set holds."""
    return _matching((version for root in _roots(ctx) for version in _versions(root)), incomplete)


def complete_kinds(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the data kinds."""
    from admlops.catalog.registries import DATA_KINDS

    return _matching(DATA_KINDS.ids(), incomplete)


def complete_scenes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the scenes of the data set that --data names, or of those in the repository's data/."""
    return _matching((scene for root in _roots(ctx) for scene in _scenes(root)), incomplete)


def complete_tags(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the tags that runs have."""
    layout = _layout()
    tags: set[str] = set()
    for file in layout.runs.glob("*/tags.json") if layout else ():
        tags.update(map(str, _read_json(file)))
    return _matching(sorted(tags), incomplete)


def _or_files(names: list[str], incomplete: str) -> Offers:
    return names or [CompletionItem(incomplete, type="file")]


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that begin as typed; if none does, those that do regardless of case."""
    there = list(dict.fromkeys(names))
    exact = [name for name in there if name.startswith(incomplete)]
    return exact or [name for name in there if name.lower().startswith(incomplete.lower())]


def _layout() -> Layout | None:
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout

    with suppress(UsageError):
        return find_layout()
    return None


def _models() -> list[str]:
    layout = _layout()
    return [] if layout is None else [name for name in _folders_with(layout.envs, "model.toml") if name != "official"]


def _keys_of_models(ctx: click.Context, table: str) -> Iterator[str]:
    import tomllib

    layout = _layout()
    if layout is None:
        return
    typed = (ctx.params.get(key) for key in ("model", "model_name", "name", "names", "models"))
    named = [str(one) for value in typed if value for one in ([value] if isinstance(value, str) else value)]
    named += ctx.args  # where the option that is being typed kept click from taking the arguments
    for name in [one for one in named if one in _models()] or _models():
        with suppress(OSError, ValueError):
            yield from tomllib.loads((layout.envs / name / "model.toml").read_text()).get(table, {})


def _roots(ctx: click.Context) -> list[Path]:
    """Return the data set that --data or the argument names, else those in the repository."""
    named = ctx.params.get("data") or ctx.params.get("root")
    if named is not None:
        return [Path(named).expanduser()]
    layout = _layout()
    return [] if layout is None else [layout.data / name for name in _names(layout.data)]


def _versions(root: Path) -> list[str]:
    from admlops.worker.samples.openlane import list_versions

    return [*_folders_with(root, "sample.json"), *list_versions(str(root))]


def _scenes(root: Path) -> Iterator[str]:
    from admlops.worker.samples.openlane import list_versions

    for version in _folders_with(root, "sample.json"):
        yield from (str(row["name"]) for row in _read_json(root / version / "scene.json") if "name" in row)
    if list_versions(str(root)):
        for split in ("train", "val", "test"):
            yield from (f"{split}-{segment}" for segment in _names(root / split))


def _read_json(file: Path) -> list[Any]:
    with suppress(OSError, ValueError):
        if file.stat().st_size <= MAX_TABLE_BYTES:
            content = json.loads(file.read_bytes())
            return content if isinstance(content, list) else []
    return []


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(entry.name for entry in folder.iterdir())
    return []


def _folders_with(folder: Path, file: str) -> list[str]:
    return [name for name in _names(folder) if (folder / name / file).is_file()]


def _newest_first(folder: Path) -> Any:
    def age(name: str) -> float:
        with suppress(OSError):
            return -(folder / name / "run.json").stat().st_mtime
        return 0.0

    return age
