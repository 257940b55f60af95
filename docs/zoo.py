"""Writes docs/zoo.md: a card for every model, from its `model.toml` and from what was measured (fidelity.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from admlops.catalog import Model, list_models, load_model
from admlops.catalog.model import Checkpoint, Claim
from admlops.catalog.registries import TASKS
from admlops.core.paths import Layout, find_layout
from admlops.worker.network import FILE_NAME

DOCS = Path(__file__).parent
BAR = 1e-4
"""The largest difference from the authors' own code that counts as none: docs/fidelity.md."""
GPU_SECTION = "## On a GPU"
HEAD = """\
# The models

One card for each model of the catalogue. `python -m docs.generate` writes this page from `envs/*/model.toml` and from
[fidelity.json](fidelity.json), so it says what is pinned and what was measured, and nothing else.

- *Weights* are fetched from the address by `admlops checkpoints fetch`. A hash is the publisher's or the first
  download's that was recorded; where there is none yet, your first download records it, and later ones are held to it.
- *Published* numbers are the authors'. They were not measured here: that takes their weights and their data.
- *Verified here* are the adapter's outputs against the authors' own code, with random weights, on a CPU; the largest
  difference of any output stands beside it. [fidelity.md](fidelity.md) says how, [export.md](export.md) of exports.

"""


def write_zoo() -> str:
    """Return the page."""
    layout = find_layout()
    models = [load_model(layout, name) for name in list_models(layout)]
    measured: Mapping[str, Any] = json.loads((DOCS / "fidelity.json").read_text())
    page = (DOCS / "fidelity.md").read_text()
    on_gpu = page.partition(GPU_SECTION)[2].partition("\n## ")[0]
    cards = ["\n".join(_card(layout, model, measured, on_gpu)) for model in models]
    return HEAD + _overview(models) + "\n" + "\n".join(cards)


def _overview(models: Sequence[Model]) -> str:
    rows = [
        (f"[{one.name}](#{one.name.lower()})", ", ".join(one.tasks), ", ".join(one.reads), one.license)
        for one in models
    ]
    return _table(("model", "tasks", "reads", "licence of its code"), rows)


def _card(layout: Layout, model: Model, results: Mapping[str, Any], on_gpu: str) -> Iterator[str]:
    source = model.source
    yield f"## {model.name}\n"
    yield f"{model.summary}\n"
    yield _table(("", ""), list(_facts(layout, model, results, on_gpu)))
    if source.kind == "git" and source.repository:
        yield f"Source: [{source.repository.removeprefix('https://')}]({source.repository}) at `{source.commit}`.\n"
    if model.checkpoints:
        rows = [(name, one.config, _address(one), _hash(one)) for name, one in model.checkpoints.items()]
        yield _table(("weights", "config", "address", "sha256"), rows)
    if model.published:
        yield _table(("published", "value", "protocol", "of"), [_claim(one) for one in model.published])
    if model.not_runnable:
        yield _table(("config that does not run here", "why"), list(model.not_runnable.items()))


def _facts(layout: Layout, model: Model, results: Mapping[str, Any], on_gpu: str) -> Iterator[tuple[str, str]]:
    measured = results.get(model.name, {})
    outputs = ", ".join(TASKS.get(task).title for task in model.tasks)
    yield "outputs", outputs + (f" ({model.frame} frame; records are in the ego frame)" if model.frame else "")
    yield "inputs", ", ".join(model.reads) + (", every sample of a scene in order" if model.temporal else "")
    weights = f"; weights: {model.weights_license}" if model.weights_license else ""
    yield "licence", f"{model.license}{weights}"
    yield "variants", "; ".join(f"{name}: {one.summary or one.python}" for name, one in model.variants.items())
    yield "verified here", "; ".join(_verified(model, results)) or "by its tests alone: no figure is recorded"
    if model.source.kind == "git" and measured:
        yield "on a GPU", _gpu(model, measured, on_gpu)
    yield "exported", _exported(model)


def _verified(model: Model, results: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in results.items():
        case = name.removeprefix(model.name)
        if not name.startswith(model.name) or case[:1].strip():
            continue
        for step, said in (("upstream", "the authors' code"), ("real", "the authors' code on a real frame")):
            for variant, found in entry.get(step, {}).items():
                largest = max(found["outputs"].values())
                verdict = "equal to" if largest <= BAR else "NOT equal to"
                yield f"{variant}{case and f',{case}'}, CPU: {verdict} {said} ({largest:.1e})"
        for variant in entry.get("variants", {}):
            yield f"{variant} held against {model.default_variant}"


def _gpu(model: Model, measured: Mapping[str, Any], page: str) -> str:
    cards = [*measured.get("gpu", {})]
    if re.search(rf"^\| {re.escape(model.name)}[ ,|]", page, re.MULTILINE):
        cards.append("an H200, once")
    return f"held against the CPU on {', '.join(cards)}" if cards else "not run on one yet"


def _exported(model: Model) -> str:
    if model.not_exported is not None:
        return f"no: {model.not_exported}"
    if (model.folder / FILE_NAME).is_file():
        return f"`admlops export {model.name}`"
    return "no: it has no network that leaves its library"


def _address(checkpoint: Checkpoint) -> str:
    if checkpoint.url is not None:
        return f"<{checkpoint.url}>"
    if checkpoint.google_drive is not None:
        return f"Google Drive `{checkpoint.google_drive}`"
    if checkpoint.npm is not None:
        return f"npm `{checkpoint.npm.specifier}`"
    return "trained here"


def _hash(checkpoint: Checkpoint) -> str:
    if checkpoint.sha256 is not None:
        return f"`{checkpoint.sha256[:12]}…` ({checkpoint.sha256_from})"
    if checkpoint.sha256_begins is not None:
        return f"`{checkpoint.sha256_begins}…` (publisher)"
    return "of the first download" if checkpoint.trained_by is None else "of each training"


def _claim(claim: Claim) -> tuple[str, str, str, str]:
    device = f", {claim.device}" if claim.device else ""
    return claim.metric, f"{claim.value:g}", f"`{claim.protocol}`", f"{claim.checkpoint or claim.config}{device}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
