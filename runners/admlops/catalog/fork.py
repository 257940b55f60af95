"""A variant of a model under a name of its own: a copy of its folder, and a package `extension` for what is new.

The model's source stays as it is pinned. `extension` is imported beside it: configurations name the heads, losses,
pipeline steps and data sets that it registers like the source's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from admlops.catalog.model import Model
from admlops.catalog.reading import FILE_NAME, load_model
from admlops.catalog.scaffold import TEMPLATES, check_name
from admlops.core.errors import CatalogError
from admlops.core.paths import Layout

EXTENSION = "extension"
_SKIPPED = ("__pycache__", ".pytest_cache")
_PUBLISHED = re.compile(r"^\[\[published\]\]\n(?:(?!\[).*\n?)*", re.MULTILINE)
MMLAB_TRAINERS = ("mmlab-v1",)


def fork_model(layout: Layout, model: str, name: str) -> dict[Path, str]:
    """Return the files of the variant, path → content; nothing is written.

    Raises:
        UsageError: the name is not valid.
        CatalogError: there is no such model, or the new model or its folder exists already.
    """
    original = load_model(layout, model)
    check_name(layout, name)
    folder = layout.envs / name
    files = {}
    for path in sorted(original.folder.rglob("*")):
        if path.is_file() and not set(path.relative_to(original.folder).parts) & set(_SKIPPED):
            files[folder / path.relative_to(original.folder)] = _read(path)
    files[folder / FILE_NAME] = _rename_entry(files[folder / FILE_NAME], original, name)
    files[folder / "demo.py"] = _rename_adapter(files[folder / "demo.py"], original, name)
    extension = folder / EXTENSION / "__init__.py"
    if extension not in files:
        files[extension] = _write_extension(original, name)
    return files


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{path} is no text, and a variant has texts alone", hint=f"ls {path.parent}   # what is it for?"
        ) from error


def _rename_entry(text: str, original: Model, name: str) -> str:
    """The catalogue's entry under the new name: the same source, and no published numbers, which are the original's."""
    text = _PUBLISHED.sub("", text).rstrip() + "\n"
    text = _replace_once(text, f'name = "{original.name}"', f'name = "{name}"', original)
    summary = f"{original.summary.rstrip('.')}; a variant of {original.name}."
    text = re.sub(r"^summary = .*$", lambda _: f'summary = "{summary}"', text, count=1, flags=re.MULTILINE)
    if original.source.kind == "git" and original.source.folder is None:
        text = _replace_once(text, 'kind = "git"', f'kind = "git"\nfolder = "{original.name}"', original)
    return text


def _rename_adapter(text: str, original: Model, name: str) -> str:
    return _replace_once(text, f'    name = "{original.name}"', f'    name = "{name}"', original)


def _replace_once(text: str, old: str, new: str, original: Model) -> str:
    if old not in text:
        raise CatalogError(
            f"{original.name} cannot be forked: its files have no line {old.strip()}",
            hint=f"cp -r {original.folder} …   # and rename it by hand",
        )
    return text.replace(old, new, 1)


def _write_extension(original: Model, name: str) -> str:
    on_mmlab = original.training is not None and original.training.trainer in MMLAB_TRAINERS
    template = "extension_mmlab.py.tmpl" if on_mmlab else "extension.py.tmpl"
    return Template((TEMPLATES / template).read_text()).substitute(name=name, model=original.name)
