"""Whether a model can run now, found out without importing or starting anything heavy."""

from __future__ import annotations

from admlops.catalog.model import Model
from admlops.core.errors import CatalogError
from admlops.core.paths import Layout

READY = "ready"


def setup_status(layout: Layout, model: Model, variant: str | None = None, *, weights: bool = True) -> str:
    """`"ready"`, or `"not set up: <reason>"`. `variant` is the model's default one unless named.

    `weights` asks for the default checkpoint too: a run without it needs `--checkpoint` or random weights.

    Raises:
        CatalogError: the model has no such variant.
    """
    reason = _missing_part(layout, model, variant or model.default_variant)
    if reason is None and weights:
        reason = _missing_weights(layout, model)
    return f"not set up: {reason}" if reason else READY


def _missing_weights(layout: Layout, model: Model) -> str | None:
    if model.default_checkpoint is None:
        return None
    file = layout.checkpoints / model.name / model.checkpoints[model.default_checkpoint].file
    return None if file.is_file() else f"no weights {file.name}: admlops checkpoints fetch {model.name}"


def _missing_part(layout: Layout, model: Model, variant: str) -> str | None:
    if variant not in model.variants:
        raise CatalogError(
            f'{model.name} has no variant "{variant}" (it has {", ".join(model.variants)})',
            hint=f"admlops models show {model.name}",
        )
    if not model.variants[variant].requirements.is_file():
        return f"no lock for the variant {variant}"
    own = (model.source.folder or model.name,) if model.source.kind == "git" else ()
    for folder in (*own, *model.source.requires):
        source = layout.submodules / folder
        if not source.is_dir() or not any(source.iterdir()):
            return f"no source in submodules/{folder}"
    if not model.adapter.is_file():
        return "no adapter demo.py"
    from admlops.environments import find_model  # an upper room: loaded only when someone asks

    if find_model(layout, model, variant) is None:
        return f"the environment of the variant {variant} is not built"
    return None
