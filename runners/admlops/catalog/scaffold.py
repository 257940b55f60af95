"""A working folder for a new model, from the templates in `template/`: a stand-in that runs until the network is in."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from admlops.catalog.reading import list_models
from admlops.core.errors import CatalogError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import whole_folder

TEMPLATES = Path(__file__).with_name("template")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
RESERVED = frozenset({"all", "common", "official"})
"""Words that commands and folders of `envs/` use already."""
CLASSES: Mapping[str, tuple[str, ...]] = {
    "detection_3d": ("car", "truck", "bus", "pedestrian", "bicycle"),
    "vector_map": ("divider", "ped_crossing", "boundary"),
}
"""The tasks that have a template, and the classes that it lists."""


def scaffold_model(layout: Layout, name: str, *, task: str) -> dict[Path, str]:
    """Return the files of a new model, path → content; nothing is written.

    Raises:
        UsageError: the name is not valid, or there is no template for the task.
        CatalogError: the model or its folder exists already.
    """
    check_name(layout, name)
    if task not in CLASSES:
        raise UsageError(
            f"--task {task} has no template", hint=f"admlops models new {name} --task {next(iter(CLASSES))}"
        )
    words = {
        "name": name,
        "class_name": _class_name(name),
        "task": task,
        "summary": f"{name} in one line.",
        "classes": ", ".join(f'"{one}"' for one in CLASSES[task]),
    }
    folder = layout.envs / name
    files = {
        "model.toml": "model.toml.tmpl",
        "demo.py": f"{task}.py.tmpl",
        "modern/requirements.in": "requirements.in.tmpl",
        "modern/requirements.txt": "requirements.txt.tmpl",
    }
    return {
        folder / path: Template((TEMPLATES / template).read_text()).substitute(words)
        for path, template in files.items()
    }


def check_name(layout: Layout, name: str) -> None:
    """Raise UsageError for a name that is not valid, CatalogError for one that is taken."""
    if not NAME.fullmatch(name) or name.lower() in RESERVED:
        reason = "the word is taken" if name.lower() in RESERVED else "letters, digits, _ and - are, a letter first"
        raise UsageError(f"{name!r} is no name of a model: {reason}", hint="admlops models new MyDetector")
    taken = next((one for one in list_models(layout) if one.lower() == name.lower()), None)
    if taken is None and (layout.envs / name).exists():
        taken = name
    if taken is not None:
        raise CatalogError(
            f"there is a model {taken} already: {layout.envs / taken}",
            hint=f"admlops models show {taken}   # or choose another name than {name}",
        )


def find_similar(layout: Layout, name: str) -> str | None:
    """Return a model whose name is so like this one that they will be mixed up, None if there is none."""
    near = difflib.get_close_matches(name, list_models(layout), n=1, cutoff=0.85)
    return near[0] if near else None


def write_model(files: Mapping[Path, str]) -> None:
    """Write the files of a new model: the folder is there whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    folder = next(path.parent for path in files if path.name == "model.toml")
    with whole_folder(folder) as staging:
        for path, content in files.items():
            target = staging / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)


def _class_name(name: str) -> str:
    """`my-net` → `MyNet`; a word of Python gets an underscore."""
    parts = re.split(r"[_-]+", name)
    joined = name if len(parts) == 1 else "".join(part[:1].upper() + part[1:] for part in parts)
    return (
        f"{joined}_" if keyword.iskeyword(joined) or joined in ("Adapter", "DataError", "Settings", "Path") else joined
    )
