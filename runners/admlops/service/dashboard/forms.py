"""Forms of endpoints, made from the schemas of their inputs and from what this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from admlops.catalog import list_models
from admlops.catalog.protocols import PROTOCOLS, headlines_of
from admlops.catalog.registries import EVALUATIONS
from admlops.core.paths import Layout
from admlops.service.dashboard import results_query
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.queue.database import Database
from admlops.worker.corruptions.fault import LEVELS
from admlops.worker.corruptions.fault import NAMES as FAULTS

Kind = Literal["text", "number", "check", "select", "choices", "lines", "pairs", "pictures"]
"""`choices`: several of a list; lines of entries, of `name=value` (`pairs`), or of `path count` (`pictures`)."""

MOST_FIELDS = 500

LABELS = {
    "model": "Model",
    "models": "Models",
    "model_a": "First model or run",
    "model_b": "Second model or run",
    "run": "Run",
    "data": "Data set",
    "images": "Pictures",
    "split": "Split",
    "scenes": "Scenes",
    "where": "Where",
    "limit": "Samples at most",
    "gpu_memory_limit_mb": "Memory limit (MB)",
    "off_distribution": "Allow data that the model was not made for",
    "random_weights": "Use random weights where a model has none",
    "weights": "Random weights",
    "complete_scenes": "Run whole scenes around the samples",
    "estimate_energy": "Estimate the energy where none is measured",
    "stream": "Take inputs at 12 Hz, as they come",
    "corrupt": "Fault of the sensors",
    "throughput": "Search the number of workers that does most",
    "together": "Run as many models at once as have room",
    "official": "Run the official evaluation code too",
    "protocols": "Further protocols",
    "evaluate": "Evaluate the run",
    "report": "Write a report",
    "batch": "Samples at once",
    "also": "Second data set",
    "metric": "Metric that decides",
    "submissions": "Runs of results files beside the models",
    "opset": "Version of ONNX's operators",
    "form": "Which network",
    "calibrate": "Split for int8 ranges",
    "calibration_samples": "Samples for int8 ranges",
}
HELP = {
    "data": "A folder below an allowed one. Leave it empty for the usual data set.",
    "split": "Such as mini_val. Leave it empty for the split that models are judged on.",
    "scenes": "One name a line, in place of a split.",
    "where": "A condition over the samples, such as tag = 'night' and speed < 5: scenes that have such are run.",
    "limit": "Take only the first samples, to try things out.",
    "variant": "The set of pinned packages. Leave it empty for the one that fits this machine.",
    "version": "The version of the data set, such as v1.0-mini.",
    "config": "A configuration that the model's catalogue entry names.",
    "checkpoint": "Weights that the model's catalogue entry names.",
    "images": "Instead of a data set: one a line, an https address or a path, and behind it how many cars it shows.",
    "weights": "Such as random:0: to try a model, not to judge it.",
    "options": "Options that the model's catalogue entry lists, one a line: name=value.",
    "metric": "Such as NDS. Leave it empty for the first headline that both have.",
    "batch": "How many samples a worker takes at once; auto finds out.",
    "corrupt": "Such as fog:2: a fault and its level, 1 to 3.",
    "precision": "“authors” is as the authors publish it.",
    "device": "auto takes every visible GPU, or the processor if there is none.",
    "engine": "Executes an exported network in PyTorch's place, such as onnx.",
}
FIRST = {
    "run": ("model", "data", "split", "limit", "device"),
    "compare": ("models", "data", "split", "limit", "device", "metric"),
    "battle": ("model_a", "model_b", "data", "split", "limit", "metric"),
    "evaluate": ("run", "official", "report"),
    "export": ("model", "precision", "checkpoint", "weights"),
}
"""What stands above the fold; a field that is required always does."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a form. `choices` are (value, text); `suggestions` are offered and bind nobody."""

    name: str
    label: str
    kind: Kind
    help: str = ""
    required: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    value: Any = ""
    wrong: str = ""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of an endpoint: what most need, and the rest."""

    endpoint: str
    title: str
    fields: tuple[Field, ...]
    further: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What this machine has to choose from, by the name of a field."""

    choices: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    suggestions: Mapping[str, Sequence[str]] = field(default_factory=dict)


def list_known(layout: Layout, database: Database, data_roots: Sequence[Any]) -> Known:
    """Look up models, runs, data sets and metrics."""
    models = list_models(layout) if layout.is_checkout else []
    runs = results_query.list_names(database)
    data = sorted({path.name for root in data_roots if root.is_dir() for path in root.iterdir() if _is_shown(path)})
    on_request = [entry.protocol for entry in EVALUATIONS.values() if entry.on_request]
    metrics = list(dict.fromkeys(name for protocol in PROTOCOLS for name in headlines_of(protocol)))
    return Known(
        choices={
            "model": [(name, name) for name in models],
            "models": [(name, name) for name in models],
            "run": [(name, name) for name in runs],
            "protocols": [(name, name) for name in on_request],
        },
        suggestions={
            "data": data,
            "also": data,
            "model_a": [*models, *runs],
            "model_b": [*models, *runs],
            "metric": metrics,
            "device": ["auto", "cpu", "all", "cuda:0"],
            "split": ["mini_val", "mini_train", "val", "train"],
            "engine": ["onnx", "onnx:fp16", "tensorrt", "tensorrt:fp16"],
            "weights": ["random:0"],
            "corrupt": [f"{name}:{level}" for name in FAULTS for level in LEVELS],
            "submissions": runs,
        },
    )


def _is_shown(path: Any) -> bool:
    return bool(path.is_dir() and not path.name.startswith("."))


def make_form(
    endpoint: Endpoint[Any], known: Known, given: Mapping[str, Any], wrong: Mapping[str, str] | None = None
) -> Form:
    """Return the form of an endpoint, filled in with an input."""
    schema = endpoint.schema
    required = set(schema.get("required", ()))
    fields = {
        name: _make_field(name, _resolve(shape, schema), name in required, known, given, wrong or {})
        for name, shape in schema["properties"].items()
    }
    order = [name for name in FIRST.get(endpoint.id, ()) if name in fields]
    order += [name for name in fields if fields[name].required and name not in order]
    return Form(
        endpoint=endpoint.id,
        title=endpoint.title,
        fields=tuple(fields[name] for name in order),
        further=tuple(one for name, one in fields.items() if name not in order),
    )


def _resolve(shape: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a property's own schema: references followed, and of several alternatives the one that is not null."""
    if "$ref" in shape:
        name = str(shape["$ref"]).rpartition("/")[2]
        return {**_resolve(schema["$defs"][name], schema), **{k: v for k, v in shape.items() if k != "$ref"}}
    if "anyOf" in shape:
        kinds = [one for one in shape["anyOf"] if one.get("type") != "null"]
        rest = {key: value for key, value in shape.items() if key != "anyOf"}
        if len(kinds) == 1:
            return {**_resolve(kinds[0], schema), **rest}
        return {"type": "string", **rest}
    return dict(shape)


def _make_field(
    name: str,
    shape: Mapping[str, Any],
    required: bool,
    known: Known,
    given: Mapping[str, Any],
    wrong: Mapping[str, str],
) -> Field:
    choices = tuple(known.choices.get(name, ()))
    kind = _kind_of(shape, bool(choices))
    if "enum" in shape:
        choices = tuple((str(one), str(one)) for one in shape["enum"])
    value = given.get(name, shape.get("default"))
    return Field(
        name=name,
        label=LABELS.get(name, name.replace("_", " ").capitalize()),
        kind=kind,
        help=HELP.get(name, str(shape.get("description", ""))),
        required=required,
        choices=choices,
        suggestions=tuple(known.suggestions.get(name, ())),
        least=shape.get("minimum"),
        most=shape.get("maximum"),
        value=_show_value(kind, value),
        wrong=wrong.get(name, ""),
    )


def _kind_of(shape: Mapping[str, Any], has_choices: bool) -> Kind:
    match shape.get("type"):
        case "boolean":
            return "check"
        case "integer" | "number":
            return "number"
        case "array":
            if "$ref" in shape.get("items", {}):
                return "pictures"
            return "choices" if has_choices else "lines"
        case "object":
            return "pairs"
    return "select" if has_choices or "enum" in shape else "text"


def _show_value(kind: Kind, value: Any) -> Any:
    """Return a value as its field shows it; what the form could not hold stands as it was typed."""
    if kind == "check":
        return bool(value)
    if kind == "choices":
        return list(value) if isinstance(value, list) else []
    if kind == "pictures":
        return "\n".join(_spell_picture(one) for one in value or ())
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{key}={inner}" for key, inner in value.items())
    return "" if value is None else str(value)


def _spell_picture(one: Any) -> str:
    count = one.get("car_count")
    return str(one.get("image_path", "")) + ("" if count is None else f" {count}")


async def read_sent(request: Request) -> FormData:
    """Return what a form sent, which is never a file. Raises HTTPException: it has too many fields."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return to_form(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise HTTPException(413, "a form here has fewer fields") from error


def to_form(pairs: Iterable[tuple[str, str]]) -> FormData:
    """Return names and values as a form sends them."""
    sent: list[tuple[str, str | UploadFile]] = [*pairs]
    return FormData(sent)


def read_form(endpoint: Endpoint[Any], sent: FormData) -> dict[str, Any]:
    """Return the input that a form says: what is left empty is left out, and what is no number stays a text."""
    schema = endpoint.schema
    found: dict[str, Any] = {}
    for name, raw in schema["properties"].items():
        shape = _resolve(raw, schema)
        value = _READERS[_kind_of(shape, False)](sent, name)
        if value == shape.get("default", _NOTHING) or value is _NOTHING:
            continue
        found[name] = value
    return found


_NOTHING = object()


def _texts(sent: FormData, name: str) -> list[str]:
    return [one.strip() for one in sent.getlist(name) if isinstance(one, str)]


def _read_text(sent: FormData, name: str) -> Any:
    text = next(iter(_texts(sent, name)), "")
    return text or _NOTHING


def _read_number(sent: FormData, name: str) -> Any:
    text = next(iter(_texts(sent, name)), "")
    if not text:
        return _NOTHING
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _read_batch(sent: FormData, name: str) -> Any:
    """Read a number, or a word where numbers and words are taken."""
    value = _read_text(sent, name)
    return int(value) if isinstance(value, str) and name == "batch" and value.isascii() and value.isdigit() else value


def _read_lines(sent: FormData, name: str) -> Any:
    return [line.strip() for text in _texts(sent, name) for line in text.splitlines() if line.strip()] or _NOTHING


def _read_pairs(sent: FormData, name: str) -> Any:
    lines = _read_lines(sent, name)
    if lines is _NOTHING:
        return _NOTHING
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def _read_pictures(sent: FormData, name: str) -> Any:
    lines = _read_lines(sent, name)
    return lines if lines is _NOTHING else [_read_picture(line) for line in lines]


def _read_picture(line: str) -> dict[str, Any]:
    path, _, count = line.rpartition(" ")
    known = bool(path) and count.isascii() and count.isdigit()
    return {"image_path": path.strip(), "car_count": int(count)} if known else {"image_path": line}


_READERS: Mapping[Kind, Callable[[FormData, str], Any]] = {
    "text": _read_batch,
    "select": _read_text,
    "number": _read_number,
    "check": lambda sent, name: name in sent,
    "choices": _read_lines,
    "lines": _read_lines,
    "pairs": _read_pairs,
    "pictures": _read_pictures,
}
