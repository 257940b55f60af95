"""The documentation: pages that follow from the code, commands that exist, and the site that `make docs` builds."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
from docs import generate
from docs.claims import find_measured, write_claims
from docs.licences import write_licences
from docs.zoo import write_zoo

from admlops.catalog import load_model
from admlops.catalog.model import Claim
from admlops.cli.main import cli
from admlops.core import errors
from admlops.core.paths import find_layout

ROOT = find_layout().root
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
VARIABLE = re.compile(r"\b(?:ADMLOPS|AWS|XDG)_[A-Z][A-Z_]+[A-Z]\b|\b(?:NO|FORCE)_COLOR\b|\bLOG_LEVEL\b")
NOT_FOR_PEOPLE = {"ADMLOPS_COMPLETE", "ADMLOPS_DETACHED", "AWS_ENDPOINT"}
"""What click makes of the program's name, what a detached command is told, the old spelling of AWS_ENDPOINT_URL."""


def test_troubleshooting_is_what_the_rules_say() -> None:
    assert (DOCS / "troubleshooting.md").read_text() == generate.write_troubleshooting(), "python -m docs.generate"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"Killed signal terminated program|other", "Killed signal terminated program"),
        (r"gcc versions later than (?P<version>\d+)", "gcc versions later than"),
        (r"a \([^)\n]{1,40}\) b", "a (…) b"),
        (r"(?:one|two) \S{1,80}three", "one …three"),
        (r"(?i)hash (?:mis)?match", "hash match"),
        (r"Python\.h(?!x): No such", "Python.h: No such"),
    ],
)
def test_a_rules_expression_is_shown_as_a_person_reads_it(pattern: str, text: str) -> None:
    assert generate.spell_pattern(generate._alternatives(pattern)[0]) == text


def test_every_message_that_is_shown_can_be_read() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    shown = re.findall(r"^- `(.*)`$", page, re.MULTILINE)
    assert len(shown) > 300
    assert [text for text in shown if re.search(r"\(\?|\\[a-zA-Z]|\{\d", text)] == []


def test_exit_codes_are_those_of_the_code() -> None:
    page = (DOCS / "exit-codes.md").read_text()
    assert page == generate.replace_errors(page), "python -m docs.generate"
    table = {int(code) for code in re.findall(r"^\| (\d+) \| [A-Z]", page, re.MULTILINE)}
    raised = {
        one.exit_code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.AdmlopsError)
    }
    sources = [path.read_text() for path in (ROOT / "runners" / "admlops" / "cli").glob("*.py")]
    returned = {
        int(code)
        for text in sources
        for code in re.findall(r"(?:^ +return|SystemExit\(|sys\.exit\() ?(\d+)\b", text, re.MULTILINE)
    }
    by_signal = {128 + 15}  # what `128 + number` in install_progress.py is for TERM
    assert raised | (returned - {128}) | by_signal == table


def test_columns_and_rules_are_those_of_the_code() -> None:
    page = (DOCS / "data-stats.md").read_text()
    assert page == generate.replace_columns(page), "python -m docs.generate"


def test_every_variable_has_its_line_and_every_line_its_variable() -> None:
    page = (DOCS / "variables.md").read_text()
    folders = [ROOT / name for name in ("runners", "install")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".sh")]
    code = "\n".join(path.read_text() for path in [*files, ROOT / "envs" / "activate"])
    known = set(VARIABLE.findall(code)) - NOT_FOR_PEOPLE
    for _, command in commands():
        known.update(str(one.envvar) for one in command.params if one.envvar)
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", page))
    assert {name for name in known if not name.startswith("XDG_CACHE")} - documented == set()
    assert {name for name in documented if VARIABLE.fullmatch(name)} - known == set()


def test_licences_are_those_of_the_locks() -> None:
    assert (DOCS / "licences.md").read_text() == write_licences(), "python -m docs.generate"


def test_the_zoo_is_what_the_catalogue_and_the_measurements_say() -> None:
    page = (DOCS / "zoo.md").read_text()
    assert page == write_zoo(), "python -m docs.generate"
    assert "NOT equal to" not in page


@cache
def commands() -> tuple[tuple[str, click.Command], ...]:
    def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            whole = f"{path} {name}".strip()
            yield whole, command
            if isinstance(command, click.Group):
                yield from walk(command, whole)

    return tuple(walk(cli, ""))


def typed_commands() -> list[tuple[str, str]]:
    """Every `admlops …` in the code blocks of the pages: (page, command)."""
    found = []
    for page in [*PAGES, ROOT / "README.md"]:
        for block in re.findall(r"^ *```(?:sh|bash|text)\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():  # a command may go on below
                plain = re.sub(r"\s+#.*", "", line).strip()
                for part in re.split(r"&&|\|\|?|;", plain):
                    if re.match(r"(?:→ )?admlops [a-z]", part.strip()):
                        found.append((str(page.relative_to(ROOT)), part.strip().removeprefix("→ ")))
    return found


def test_what_the_pages_tell_to_type_exists() -> None:
    """The command and each of its options; what a rule's remedy leaves open in words is not typed as it stands."""
    known = dict(commands())
    wrong = []
    typed = typed_commands()
    assert len(typed) > 100
    for page, line in typed:
        words = shlex.split(line, posix=True) if line.count("'") % 2 == 0 else line.split()
        name = next((" ".join(words[1:end]) for end in (3, 2) if " ".join(words[1:end]) in known), None)
        if name is None:
            wrong.append((page, line))
            continue
        own = words[: words.index("--")] if "--" in words else words
        options = {one for each in (known[name].params, cli.params) for param in each for one in param.opts}
        options |= {one for param in known[name].params for one in param.secondary_opts} | {"--help", "-h"}
        asked = {re.sub(r"=.*", "", word) for word in own if re.match(r"--[a-z]", word)}
        if not asked <= options:
            wrong.append((page, line))
    assert wrong == []


def test_every_page_has_its_place_in_the_navigation() -> None:
    entries = re.findall(r"^(?:project/)?[a-z][a-z_-]*$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if "_build" not in page.parts} - {"index"}
    assert pages - set(entries) == set()
    assert set(entries) - pages <= set(importlib.import_module("docs.conf").OPTIONAL)


def test_no_lock_of_the_site_names_a_host() -> None:
    lock = (DOCS / "requirements.txt").read_text()
    assert "://" not in lock
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z])", lock.strip()))


class _Page(HTMLParser):
    """What a page loads, what it links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.anchors.update(named[key] for key in ("id", "name") if key in named)
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif tag == "link" and named.get("rel") in ("stylesheet", "preload", "preconnect", "icon", "modulepreload"):
            self.loads.append(named.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "audio", "video", "embed") and "src" in named:
            self.loads.append(named["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run([ROOT / "install" / "docs.sh", "--out", out], capture_output=True, text=True, check=False)
    if "could not be installed" in done.stderr:
        pytest.skip("needs the package index once, for the packages of docs/requirements.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 25
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or not link:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.exists() and (
                not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
            )
            if not is_there:
                broken.append((str(path.relative_to(site)), link))
    assert broken == []


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_site_loads_nothing_from_elsewhere_and_can_be_searched(site: Path) -> None:
    elsewhere = [
        (path.name, one)
        for path in site.rglob("*.html")
        for one in _Page(path.read_text()).loads
        if urlsplit(one).scheme not in ("", "data") or one.startswith("//")
    ]
    assert elsewhere == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text()) == [], sheet
    index = (site / "searchindex.js").read_text()
    assert "troubleshooting" in index
    assert "yapf" in index


def test_claims_are_those_of_the_catalogue() -> None:
    page = (DOCS / "claims.md").read_text()
    assert page == write_claims(), "python -m docs.generate"
    about = {"protocol": "p", "source": "README.md", "checkpoint": "c"}
    claim = Claim.model_validate({"metric": "mAP", "value": 0.3, **about})
    row = {"model": "PETR", "metric": "mAP", "protocol": "p", "checkpoint": "c", "config": None, "value": 0.29}
    model = load_model(find_layout(), "PETR")
    assert find_measured(model, claim, [row]) == [row]
    assert find_measured(model, claim, [{**row, "checkpoint": "other"}]) == []
