"""Which of the catalogue's fixes a run needs: corrections without which published weights give wrong results.

They follow from what the weights are, by their content: an entry of the catalogue, or the configuration that a trainer
kept in the file. Where that does not tell, the user says it with `--option fixes=...`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.pipeline.config_text import read_variables

if TYPE_CHECKING:
    from admlops.checkpoints import Usable

NO_FIXES = "none"


def needed_fixes(
    model: Model, *, checkpoint: Usable | None, config: str | None, random: bool, asked: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return the settings of each fix by its name, for the adapter.

    Random weights stand for those of the configuration, or for the default ones. `config` is what the user asked
    for, `asked` the value of `--option fixes`: comma-separated names, or `none`.

    Raises:
        UsageError: `asked` names an unknown fix, or nothing tells whether weights of one's own need one.
    """
    if asked is not None:
        names = _asked(model, asked)
    elif random:
        names = _of_config(model, config)
    elif checkpoint is None:
        names = ()
    elif checkpoint.name is not None:
        names = model.checkpoints[checkpoint.name].fixes
    else:
        names = _of_own(model, checkpoint, config)
    return {name: dict(model.fixes[name].settings) for name in names}


def fixes_of_weights(model: Model) -> tuple[str, ...]:
    """The fixes that some of the model's published weights need."""
    return tuple(dict.fromkeys(fix for one in model.checkpoints.values() for fix in one.fixes))


def _asked(model: Model, asked: str) -> tuple[str, ...]:
    if asked == NO_FIXES:
        return ()
    names = tuple(dict.fromkeys(asked.split(",")))
    known = fixes_of_weights(model)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--option fixes={asked}: {model.name} has no fix {name} of its weights; it has: "
                f"{', '.join(known) or NO_FIXES}",
                hint=f"admlops models show {model.name}   # or --option fixes={NO_FIXES}",
            )
    return names


def _of_config(model: Model, config: str | None) -> tuple[str, ...]:
    if config is not None:
        return next((one.fixes for one in model.checkpoints.values() if one.config == config), ())
    return model.checkpoints[model.default_checkpoint].fixes if model.default_checkpoint else ()


def _of_own(model: Model, checkpoint: Usable, config: str | None) -> tuple[str, ...]:
    """The fixes for weights of one's own; a configuration of one's own needs none that depends on them."""
    custom = config is not None and config not in model.configs
    return tuple(
        name
        for name in fixes_of_weights(model)
        if model.fixes[name].for_all_weights or (not custom and _is_needed(model, checkpoint, name))
    )


def _is_needed(model: Model, checkpoint: Usable, fix: str) -> bool:
    """Tell whether the weights were trained with what the fix sets, by the configuration that they hold."""
    settings = model.fixes[fix].settings
    variables = read_variables(checkpoint.weights.config_text if checkpoint.weights else "")
    if any(name not in variables for name in settings):
        raise UsageError(
            f"{checkpoint.path} does not say whether its weights need the fix {fix}: {model.fixes[fix].reason}",
            hint=f"pass --option fixes={fix}, or --option fixes={NO_FIXES} for weights that the config is right for",
        )
    return all(variables[name] == value for name, value in settings.items())
