"""Hints that can be typed as they stand: the word MODEL becomes the model that the command line is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

WORD = re.compile(r"\bMODEL\b")


def name_model(hint: str, words: Iterable[str]) -> str:
    """Replace MODEL by the model that `words` name, or whose run they name; else say what MODEL stands for."""
    if not WORD.search(hint):
        return hint
    models = set(_models_of(words))
    if len(models) == 1:
        return WORD.sub(models.pop(), hint)
    return f"{hint}{';' if '#' in hint else '   #'} MODEL: a name from `admlops models list`"


def _models_of(words: Iterable[str]) -> Iterator[str]:
    from admlops.catalog import list_models
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import find_layout
    from admlops.results.runs import find_run

    try:
        layout = find_layout()
        known = set(list_models(layout)) if layout.is_checkout else set()
    except (AdmlopsError, OSError):
        return
    for word in words:
        if word in known:
            yield word
        elif word and not word.startswith("-"):
            try:
                yield find_run(layout, word).header.model
            except (AdmlopsError, OSError, ValueError):
                continue  # it names no run


_OPTION_VARIABLES = {
    "--checkpoint": "CHECKPOINT_FILE",
    "--config": "CUSTOM_CONFIG_FILE",
    "--timeout": "INFERENCE_TIMEOUT",
}
"""Options whose values are looked at after the command line was read, and the variables that set them."""


def name_variable(message: str, words: Iterable[str], variables: Mapping[str, str]) -> str:
    """Add the variable that an option's value comes from to a message about an option that was not typed."""
    option = message.partition(" ")[0]
    variable = _OPTION_VARIABLES.get(option, "")
    typed = any(word == option or word.startswith(f"{option}=") for word in words)
    return message if typed or not variables.get(variable) else f"{message} (the variable {variable})"
