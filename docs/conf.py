"""How Sphinx builds the site: `make docs`. Nothing in the built pages is loaded from elsewhere."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "runners"))

project = "admlops"
copyright = "the admlops maintainers"  # noqa: A001  Sphinx's own name
version = release = importlib.metadata.version("admlops")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "requirements.txt"]
suppress_warnings = [
    "ref.python",  # worker and host have errors of the same name
    "misc.highlighting_failure",  # JSON with … in it is meant
]
smartquotes = False  # --color is an option, not a dash
default_role = "code"  # `name` in docstrings is code

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"admlops {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "source_view_link": "", "source_edit_link": ""}


OPTIONAL = ("submissions", "tables", "tracking", "api")
"""Pages that the navigation has a place for and that may not be there yet."""
OUTSIDE = {
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "README.md": "index",
    "SECURITY.md": "project/security",
    "tests/gpu/README.md": "project/gpu-stages",
}
"""Files of the checkout, outside docs/, that are pages of the site."""


def read_source(app: Any, name: str, source: list[str]) -> None:
    """Fill pages of files outside docs/, point links at pages of the site, leave out pages that are not there."""
    del app
    docs = ROOT / "docs"
    folder = docs if "/" not in name else (docs / name).parent
    for file, page in OUTSIDE.items():
        if page == name and name != "index":
            source[0] = (ROOT / file).read_text()
            folder = (ROOT / file).parent
    source[0] = re.sub(r"\]\(([^)\s#]+)(#[^)\s]*)?\)", lambda link: _relink(link, folder, docs / name), source[0])
    if name == "index":
        there = [line for line in source[0].splitlines() if line not in OPTIONAL or (docs / f"{line}.md").is_file()]
        source[0] = "\n".join(there) + "\n"


def _relink(link: re.Match[str], folder: Path, page: Path) -> str:
    """Return a link that leads to a file of the checkout as one that leads to its page, seen from `page`."""
    target = (folder / link[1]).resolve()
    if "://" in link[1] or not target.is_relative_to(ROOT):
        return link[0]
    inside = str(target.relative_to(ROOT))
    goal = ROOT / "docs" / f"{OUTSIDE[inside]}.md" if inside in OUTSIDE else target
    return f"]({os.path.relpath(goal, page.parent)}{link[2] or ''})"


def mark_examples(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Take an indented paragraph of a module's docstring for code, as a reader of the source does."""
    del app, name, thing, options
    if what != "module":
        return
    for number in range(len(lines) - 1, 0, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1].strip()
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if begins and not before.startswith("    "):
            lines[number:number] = ["::", ""]


def setup(app: Any) -> None:
    """Register what Sphinx calls while it reads."""
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", mark_examples)
