"""What the adapter of a run is told: its configuration, its weights, its options, its share of a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.types import Say
from admlops.health.devices import ComputeDevice
from admlops.pipeline.fixes import needed_fixes
from admlops.pipeline.options import check_options
from admlops.pipeline.run_request import AUTO_BATCH, RunRequest
from admlops.worker.in_pytorch import EXPORTED_FORM

if TYPE_CHECKING:
    from admlops.checkpoints import Usable
    from admlops.deployment.manifest import Manifest


def adapter_settings(
    layout: Layout, model: Model, request: RunRequest, checkpoint: Usable | None, *, say: Say
) -> dict[str, Any]:
    """Return what the adapter is told; all of it decides the records, so it goes into the run's header."""
    settings: dict[str, Any] = {
        "config": _config(layout, model, request.config or config_of_checkpoint(layout, model, checkpoint, say=say)),
        "checkpoint": None if checkpoint is None else str(checkpoint.path),
        "precision": request.precision,
        "options": _options(model, request, checkpoint, say=say),
    }
    if request.graphs:
        settings["graphs"] = True
    batch = choose_batch(model, request, say=say)
    return settings if batch == 1 else {**settings, "batch": batch}


def engine_adapter_settings(
    layout: Layout, model: Model, request: RunRequest, manifest: Manifest | None, *, say: Say
) -> dict[str, Any]:
    """Return what the adapter of an exported network is told: the configuration and options that it was exported with.

    Raises:
        UsageError: an option is given in another value than it was exported with.
    """
    choose_batch(model, request, say=say)
    check_options(model, request.model_options)
    exported = {} if manifest is None else dict(manifest.source.options)
    for name, value in request.model_options.items():
        if exported.get(name, value) != value:
            raise UsageError(
                f"--option {name}={value}, and the network was exported with {name}={exported[name]}",
                hint=f"admlops export {model.name} --option {name}={value}",
            )
    config = request.config or (
        manifest.source.config if manifest else config_of_checkpoint(layout, model, None, say=say)
    )
    options = {**exported, **request.model_options}
    if manifest is None and request.weights is not None:
        options["weights"] = request.weights  # the caller's word marks the run
    if request.off_distribution:
        options["off_distribution"] = True
    return {
        "config": _config(layout, model, config),
        "checkpoint": None,
        "precision": request.precision,
        "options": options,
    }


def choose_batch(model: Model, request: RunRequest, *, say: Say) -> int | Literal["auto"]:
    """Return how many samples a worker is to take at once; 1 for `auto` where the model takes no more.

    Raises:
        UsageError: the model takes one at a time.
    """
    if request.batch == 1 or (model.batches and request.engine is None):
        return request.batch
    reason = "each of its samples depends on those before it" if model.temporal else "its adapter has no forward_batch"
    if request.engine is not None:
        reason = f"--engine {request.engine} does"
    if request.batch == AUTO_BATCH:
        say(f"--batch auto: {model.name} takes one sample at a time, for {reason}")
        return 1
    raise UsageError(
        f"{model.name} takes one sample at a time, not --batch {request.batch}: {reason}",
        hint="leave --batch out, or pass --batch auto",
    )


def _options(model: Model, request: RunRequest, checkpoint: Usable | None, *, say: Say) -> dict[str, Any]:
    """The adapter's options: the user's, random weights, and the fixes that the weights need."""
    check_options(model, request.model_options)
    options: dict[str, Any] = dict(request.model_options)
    if request.weights is not None:
        options["weights"] = request.weights
    random = request.weights is not None
    asked = None if "fixes" in model.options else options.pop("fixes", None)
    fixes = needed_fixes(model, checkpoint=checkpoint, config=request.config, random=random, asked=asked)
    if fixes:
        say(f"corrections that these weights need: {', '.join(fixes)} (admlops models show {model.name})")
        options["fixes"] = fixes
    if request.off_distribution:
        options["off_distribution"] = True
    if request.exported_form:
        options[EXPORTED_FORM] = True
    return options


def _config(layout: Layout, model: Model, asked: str | None) -> str | None:
    if asked is None:
        return None
    if asked in model.configs:
        return str(working_folder(layout, model) / model.configs[asked])
    return _existing_file("--config", asked, model, tuple(model.configs))


def config_of_checkpoint(layout: Layout, model: Model, checkpoint: Usable | None, *, say: Say) -> str | None:
    """Return the configuration that weights were trained with, as they tell; the default one if nothing tells.

    The worker refuses weights that do not fit it, and names the one that they fit.
    """
    usual = model.checkpoints[model.default_checkpoint].config if model.default_checkpoint else None
    if checkpoint is None:
        return usual
    if checkpoint.config is not None:
        return checkpoint.config
    if checkpoint.name is not None:
        return model.checkpoints[checkpoint.name].config
    from admlops.checkpoints import find_config  # as below

    found = find_config(layout, model, checkpoint.weights) if checkpoint.weights else None
    if found is not None:
        say(f"config {found.name}: {found.reason}")
        return found.name
    if usual is not None and len(model.configs) > 1:
        say(f"config {usual}, the default one: {checkpoint.path} does not say which it is for; --config chooses")
    return usual


def chosen_weights(layout: Layout, model: Model, request: RunRequest, *, say: Say) -> Usable | None:
    """The weights, hashed and inspected; None for a model that has none, and for random ones."""
    if request.weights is not None:
        if not model.traits.needs_weights:
            if model.checkpoints:
                raise UsageError(
                    f"{model.name} cannot run with random weights: its network comes with them",
                    hint=f"admlops checkpoints fetch {model.name}",
                )
            raise UsageError(f"{model.name} has no weights, so none can be random", hint="leave --weights out")
        say(f"{request.weights}: the weights are random, so the results say nothing about {model.name}")
        return None
    chosen = request.checkpoint or model.default_checkpoint
    if chosen is None:
        return None
    from admlops.checkpoints import ensure_usable  # loads the libraries that download

    return ensure_usable(layout, model, chosen, say=say)


def catalogue_name(model: Model, request: RunRequest, checkpoint: Usable | None) -> str | None:
    """Return the weights' name in the catalogue, None for a person's own or random ones."""
    chosen = request.checkpoint or model.default_checkpoint
    return chosen if checkpoint is not None and chosen in model.checkpoints else None


def gpu_memory_limit_mb(request: RunRequest, device: ComputeDevice) -> float | None:
    """Return the limit in megabytes [MB, 10⁶ bytes]; a share is one of the GPU's whole memory."""
    if request.gpu_memory_share is None or device.kind == "cpu":
        return request.gpu_memory_limit_mb
    if device.memory_mb is None:
        raise UsageError(
            f"{device.id} ({device.name}) does not say how much memory it has, so no share of it can be taken",
            hint="pass --gpu-memory-limit 20GB, for example",
        )
    return round(request.gpu_memory_share * device.memory_mb, 1)


def _existing_file(option: str, asked: str, model: Model, names: tuple[str, ...]) -> str:
    path = user_path(asked).resolve()
    if not path.is_file():
        raise UsageError(
            f"{option} {asked} is neither a file nor a name of the catalogue; {model.describe_unknown(asked, names)}",
            hint=f"admlops models show {model.moved.get(asked, model.name)}",
        )
    return str(path)


def working_folder(layout: Layout, model: Model) -> Path:
    """Return the adapter's working folder: the root of the model's source, because plugins import relative to it."""
    if model.source.kind == "embedded":
        return model.folder
    return layout.submodules / (model.source.folder or model.name)
