"""Writes the pages that follow from the code: `python -m docs.generate`; tests hold them to it.

claims.md and zoo.md come from the catalogue and what was measured, troubleshooting.md from the doctor's rules,
exit-codes.md's table of errors from `core.errors`, data-stats.md's from the columns and rules, licences.md
from the locks and their table, openapi.json and the JavaScript client's inputs.d.ts from the shapes of the service's
inputs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs.claims import write_claims
from docs.licences import write_licences
from docs.typescript import write_types
from docs.zoo import write_zoo

from admlops.core import errors
from admlops.curation.columns import COLUMNS
from admlops.curation.tags import read_rules
from admlops.doctor.rules import RULES_FOLDER, Rule, load_rules
from admlops.service.job_api.openapi import make_openapi

DOCS = Path(__file__).parent
TYPES = DOCS.parent / "runners" / "clients" / "js" / "inputs.d.ts"
MORE_TYPES = frozenset({"ListedImage", "Policy"})
SHOWN_MESSAGES = 3
ERRORS_BEGIN, ERRORS_END = "<!-- generated: errors -->", "<!-- end -->"
COLUMNS_BEGIN, RULES_BEGIN = "<!-- generated: columns -->", "<!-- generated: rules -->"

HEAD = """\
# Troubleshooting

Look for the words of your error here, or let the doctor look:

```sh
admlops doctor build.log            # a file
make 2>&1 | admlops doctor -        # a pipe
admlops doctor                      # what failed last here
```

The doctor knows {count} failures. This page lists them all; `python -m docs.generate` writes it from the same rules.
A message is shown as it begins; … stands for what differs. [How the doctor works](doctor.md).

"""


def write_troubleshooting() -> str:
    """Return the page of all failures that the doctor knows, by family."""
    parts = []
    seen: set[str] = set()
    known = load_rules()
    for file in sorted(RULES_FOLDER.glob("*.toml")):
        names = dict.fromkeys(re.findall(r'^id = "([^"]+)"', file.read_text(), re.MULTILINE))
        own = [name for name in names if name not in seen]
        seen.update(own)
        parts.append(
            f"## {_title(file)}\n\n" + "\n".join(_entry([one for one in known if one.id == name]) for name in own)
        )
    return HEAD.format(count=len(seen)) + "\n".join(parts)


def _title(file: Path) -> str:
    """Return what a family is called: the first comment of its file."""
    first = file.read_text().splitlines()[0]
    return first.removeprefix("#").strip().rstrip(".")


def _entry(forms: list[Rule]) -> str:
    rule = forms[0]
    messages = dict.fromkeys(text for one in forms for text in _messages(one))
    shown = [f"- {_code(text)}" for text in list(messages)[:SHOWN_MESSAGES]]
    signals = [f"- the process ends by {one.signal}" for one in forms if one.signal is not None]
    lines = [f"### {rule.id}", "", *shown, *signals, "", f"Cause: {_name_groups(rule.cause).rstrip('.')}.", ""]
    hints = dict.fromkeys(_name_groups(one.hint) for one in forms)  # another phase may have its own
    lines += ["```text", *hints, "```", ""]
    if rule.thread:
        lines += [f"Seen in {_link_threads(rule.thread)}.", ""]
    return "\n".join(lines)


def _messages(rule: Rule) -> list[str]:
    if rule.says is None:
        return []
    readable = [spell_pattern(part) for part in _alternatives(rule.says)]
    raised = "" if rule.raised is None else f"{spell_pattern(_alternatives(rule.raised)[0])}: "
    return [raised + text for text in readable if re.search(r"\w{3}", text)]


def spell_pattern(pattern: str) -> str:
    """Return a rule's expression as a person may read it: of alternatives the first, … for what differs."""
    pattern = re.sub(r"\(\?[a-z]+(:?)\)?", lambda flag: "(?:" if flag[1] else "", pattern)
    text = re.sub(r"(?<!\\)\[(?:[^\]\\]|\\.)+\](?:[*+?]|\{[\d,]+\})*", "…", pattern)
    while (
        group := re.search(r"\((?:\?P<\w+>|\?:|\?[=!<]+)?((?:[^()\\]|\\.)*)\)(\?|\*|\+|\{[\d,]+\})?", text)
    ) is not None:
        ahead = text[group.start() : group.start() + 3] in ("(?=", "(?!", "(?<") and "?P" not in group[0][:4]
        inner = "" if ahead or group[2] in ("?", "*") else _alternatives(group[1])[0]
        inner = inner.replace("\\(", "\x00").replace("\\)", "\x01")
        text = text[: group.start()] + inner + text[group.end() :]
    text = text.replace("\\(", "\x00").replace("\\)", "\x01")
    text = re.sub(r"(?:\\[wWsSdD]|(?<!\\)\.)(?:[*+?]|\{[\d,]+\})*", "…", text)
    text = re.sub(r"\\[bB]|(?<!\\)[\^$]", "", text)
    text = re.sub(r"([^\\…])[*?]", r"\1", text)
    text = re.sub(r"\\(.)", r"\1", text).replace("\x00", "(").replace("\x01", ")")
    return re.sub(r"…(?:\s*…)+", "…", re.sub(r" +", " ", text)).strip(" …") or "…"


def _alternatives(pattern: str) -> list[str]:
    """Split at every | that is in no group and no class."""
    parts, depth, current, in_class, escaped = [], 0, "", False, False
    for sign in pattern:
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "|" and depth == 0:
            parts.append(current)
            current = ""
            continue
        current += sign
    return [*parts, current]


def _name_groups(text: str) -> str:
    """Write what a rule takes from the message, `{version}`, as a word to be filled in."""
    return re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), text)


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _link_threads(threads: str) -> str:
    """`owner/name#1, #2` with a link for each; a bare number is of the repository before it."""
    repository = ""

    def link(found: re.Match[str]) -> str:
        nonlocal repository
        repository = found[1] or repository
        return f"[{found[0]}](https://github.com/{repository}/issues/{found[2]})"

    return re.sub(r"([\w.-]+/[\w.-]+)?#(\d+)", link, threads)


def write_errors() -> str:
    """Return the table of the errors that a command ends with, by exit code."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.AdmlopsError)]
    rows = [(one.exit_code, one.__name__, " ".join(str(one.__doc__).split())) for one in found]
    lines = [f"| {code} | `{name}` | {text} |" for code, name, text in sorted(rows)]
    return "\n".join(["| code | error | when |", "|---|---|---|", *lines]) + "\n"


def replace_errors(page: str) -> str:
    """Return exit-codes.md with the table of errors as the code has it."""
    return _replace(page, ERRORS_BEGIN, write_errors())


def _replace(page: str, begin: str, table: str) -> str:
    """Put a table between its mark and the next end."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(ERRORS_END)
    return f"{before}{begin}\n\n{table}\n{ERRORS_END}{after}"


def replace_columns(page: str) -> str:
    """Return data-stats.md with the columns of a sample and the built-in rules as the code has them."""
    columns = [f"| `{one.name}` | {one.unit} | {one.says} |" for one in COLUMNS]
    rules = [f"| `{one.name}` | `{one.condition.text}` | {one.about} |" for one in read_rules().by_name.values()]
    heads = ("| column | unit | what it is |", "|---|---|---|"), ("| tag | where | what it means |", "|---|---|---|")
    page = _replace(page, COLUMNS_BEGIN, "\n".join([*heads[0], *columns]) + "\n")
    return _replace(page, RULES_BEGIN, "\n".join([*heads[1], *rules]) + "\n")


def write_openapi() -> str:
    """Return the description of the service's API."""
    return json.dumps(make_openapi(), indent=1) + "\n"


def write_input_types() -> str:
    """Return the TypeScript of the inputs, for the JavaScript client."""
    schemas = make_openapi()["components"]["schemas"]
    return write_types({name: one for name, one in schemas.items() if name.endswith("Input") or name in MORE_TYPES})


def main() -> None:
    TYPES.write_text(write_input_types())
    (DOCS / "openapi.json").write_text(write_openapi())
    (DOCS / "troubleshooting.md").write_text(write_troubleshooting())
    page = DOCS / "exit-codes.md"
    page.write_text(replace_errors(page.read_text()))
    statistics = DOCS / "data-stats.md"
    statistics.write_text(replace_columns(statistics.read_text()))
    (DOCS / "licences.md").write_text(write_licences())
    (DOCS / "claims.md").write_text(write_claims())
    (DOCS / "zoo.md").write_text(write_zoo())


if __name__ == "__main__":
    main()
