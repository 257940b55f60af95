"""What a node does for a run before its first worker: it proves it has the driver's code, and finds its environment.

A missing environment is restored from its pack, which the first worker of a node fetches from the store; the others
wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admlops.catalog import find_known, load_model
from admlops.core.errors import AdmlopsError, EnvError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.environments import Environment, ensure_model
from admlops.environments.install.options import BuildOptions
from admlops.environments.prefix import read_state
from admlops.environments.reuse.packs import stores
from admlops.execution.cluster.code import require_same
from admlops.execution.executors.ray.portable import check_files, make_local
from admlops.sources.provenance import describe_adapter, describe_sources


def describe_model_code(layout: Layout, name: str, folder: Path) -> dict[str, Any]:
    """Describe the code of a model: the digest over its adapter and the worker, and the commits of its sources."""
    model = find_known(layout, name)
    return {
        "adapter": describe_adapter(layout, folder),
        "sources": {} if model is None else describe_sources(layout, model),
    }


def describe_environment(python: Path) -> dict[str, Any] | None:
    """Describe the environment that an interpreter belongs to; None if that is none of ours."""
    prefix = python.parent.parent
    state = read_state(prefix)
    return None if state is None else {"prefix": prefix.name, "digest": state["digest"], "device": state.get("device")}


def prepare(facts: Mapping[str, Any], *, say: Say) -> tuple[dict[str, Any], dict[str, str]]:
    """Check and complete a worker's description on this node; returns it with this node's paths, and its variables.

    Args:
        facts: `spec` with portable paths, `code` and `files` of the driver, `environment`, and `data_root`, which a
            person mapped for this node, if any.
        say: takes remarks.

    Raises:
        AdmlopsError: code, weights, data or environment are not as the driver has them.
    """
    layout = find_layout()
    spec = make_local(facts["spec"], layout)
    require_same(describe_model_code(layout, spec["model"], Path(spec["adapter"]).parent), facts["code"], where="it")
    check_files(facts["files"], layout)
    settings = spec["settings"]
    if facts.get("data_root"):
        settings["data_root"] = facts["data_root"]
    _check_folder(settings.get("data_root"))
    wanted = facts["environment"]
    variables: Mapping[str, str | None] = {}
    if wanted is not None:
        environment = find_or_restore(layout, spec["model"], settings["variant"], wanted, facts["pack_store"], say=say)
        spec["python"], variables = str(environment.python), environment.variables
    elif not Path(spec["python"]).exists():
        raise EnvError(f"there is no {spec['python']}", hint="make bootstrap   # on that node")
    return spec, process_environment(variables)


def _check_folder(root: str | None) -> None:
    if root and not Path(root).exists():
        raise UsageError(
            f"the data set's root {root} is not there",
            hint="pass --data-map NODE=PATH with its place on that node   # or a file: --data-map FILE.toml",
        )


def find_or_restore(
    layout: Layout, name: str, variant: str, wanted: Mapping[str, Any], store: str | None, *, say: Say
) -> Environment:
    """Return this node's environment of the digest that the driver has, restored from its pack if it is missing.

    Raises:
        EnvError: it is not there, and neither the repository's packs nor the store holds it.
    """
    prefix = layout.environments / str(wanted["prefix"])
    found = Environment.load(prefix, digest=wanted["digest"])
    if found is not None:
        return found
    if store:
        say(f"looking for {prefix.name} in the store of packs")
        stores.pull(prefix.name, store, layout.packs, say=say)
    try:
        built = ensure_model(
            layout, load_model(layout, name), variant, device=wanted["device"], say=say, options=BuildOptions()
        )
    except AdmlopsError as error:
        raise EnvError(
            f"{prefix.name} is not there and could not be made: {error.message}",
            hint=f"admlops env push {name} --to STORE && export ADMLOPS_PACK_STORE=STORE   # where you type run",
        ) from error
    if built.digest != wanted["digest"]:
        raise EnvError(
            f"its environment of {name} is {built.prefix.name}, the driver's {prefix.name}",
            hint=f"admlops env push {name} --to STORE && export ADMLOPS_PACK_STORE=STORE   # where you type run",
        )
    return built


def check_data(root: str, sizes: Mapping[str, int]) -> None:
    """Look for some files of the data set.

    Raises:
        UsageError: one is missing or has another size.
    """
    for name, size in sizes.items():
        path = Path(root) / name
        try:
            here = path.stat().st_size
        except OSError:
            here = None
        if here != size:
            what = "is not there" if here is None else f"has {here} bytes, the driver's {size}"
            raise UsageError(
                f"its data is not the driver's: {path} {what}",
                hint="pass --data-map NODE=PATH with the data set's root on that node",
            )
