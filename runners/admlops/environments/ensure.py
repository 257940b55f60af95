"""Finds the ready environment of a model or an official evaluator, and builds it where it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from admlops.catalog.model import Model
from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Device, Say
from admlops.environments.install.installer import asks_for, digest_of, find_installer
from admlops.environments.install.options import AUTO, BuildOptions
from admlops.environments.licences import require_accepted
from admlops.environments.prefix import Environment, prefix_of, read_state
from admlops.environments.spec.environment_spec import EnvironmentSpec

GPU_DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def ensure_model(
    layout: Layout,
    model: Model,
    variant: str | None = None,
    *,
    device: Device | None = None,
    say: Say,
    options: BuildOptions | None = None,
) -> Environment:
    """Give a ready environment for a model's variant (the default one if None), built if it is not there.

    Without `options` only what is quick is built: a variant with compiled operations must have been set up before.
    `device` is the one of this machine if None.

    Raises:
        EnvError: a licence was not accepted, the variant has no lock yet, is not set up, or its environment cannot be
            built; says why.
    """
    found = find_model(layout, model, variant, device=device)
    if found is not None and _will_do(found, options):
        return found
    require_accepted(model)
    if device is None and model.variants[variant or model.default_variant].devices:
        device = _this_machines_device()
    spec = EnvironmentSpec.of_model(model, variant, device=device)
    if options is None and spec.compiled and spec.missing_lock("venv") is None:
        raise EnvError(
            f"{spec.name} is not set up: its environment is not built, and compiling takes minutes",
            hint=f"make setup-{model.name}   # or: admlops env install {model.name} --variant {spec.variant}",
        )
    return ensure(layout, spec, say=say, options=options)


def ensure_official(layout: Layout, name: str, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """Give a ready environment for an official evaluator, `envs/official/<name>/`, built if it is not there."""
    return ensure(layout, EnvironmentSpec.of_official(layout, name), say=say, options=options)


def ensure_tool(layout: Layout, name: str, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """Give a ready environment of a tool, `envs/tools/<name>/`, built if it is not there."""
    return ensure(layout, EnvironmentSpec.of_tool(layout, name), say=say, options=options)


def find_model(
    layout: Layout, model: Model, variant: str | None = None, *, device: Device | None = None
) -> Environment | None:
    """Find the model's ready environment, by whatever installer, for the device if named; builds nothing."""
    found = (find(layout, spec) for spec in specs_of_variant(model, variant, device=device))
    return next((environment for environment in found if environment is not None), None)


def find_official(layout: Layout, name: str) -> Environment | None:
    """Find the official evaluator's ready environment; builds nothing."""
    return find(layout, EnvironmentSpec.of_official(layout, name))


def find_tool(layout: Layout, name: str) -> Environment | None:
    """Find the tool's ready environment; builds nothing."""
    return find(layout, EnvironmentSpec.of_tool(layout, name))


def specs_of_variant(
    model: Model, variant: str | None = None, *, device: Device | None = None
) -> list[EnvironmentSpec]:
    """List the specifications that serve a variant on this machine, the best first: one a device, or one for all."""
    pins = model.variants.get(variant or model.default_variant)
    devices: Iterable[Device | None] = [device]
    if device is None and pins is not None and pins.devices:
        gpu = any(path.exists() for path in GPU_DEVICE_FILES)
        devices = sorted(pins.devices, key=lambda one: (one == "cuda") != gpu)
    return [EnvironmentSpec.of_model(model, variant, device=one) for one in devices]


def ensure(layout: Layout, spec: EnvironmentSpec, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """Give a ready environment of a specification, built if it is not there; by the installer that `options` name."""
    found = find(layout, spec)
    if found is not None and _will_do(found, options):
        return found
    from admlops.environments.install.build import build  # a command that finds it ready does not wait for this

    return build(layout, spec, say=say, options=options)


def _will_do(found: Environment, options: BuildOptions | None) -> bool:
    return options is None or options.installer in (AUTO, found.installer)


def find(layout: Layout, spec: EnvironmentSpec) -> Environment | None:
    """Find the ready environment of a specification, the preferred installer's first."""
    ready = []
    for prefix in layout.environments.glob(f"{spec.name}-*"):
        state = read_state(prefix)
        # A prefix that was moved does not run: it is full of absolute paths.
        at_its_place = state is not None and prefix == prefix_of(layout, spec.name, str(state.get("digest")))
        if state is not None and at_its_place and asks_for(spec, state):
            ready.append(Environment.load(prefix, digest=state["digest"]))
    found = (environment for environment in ready if environment is not None)
    return min(found, key=lambda one: spec.installers.index(one.installer), default=None)


def candidates(layout: Layout, spec: EnvironmentSpec) -> list[tuple[Path, str]]:
    """List (prefix, digest) of the environments that a specification can have here, the preferred installer's first."""
    return [(prefix_of(layout, spec.name, digest), digest) for digest in _digests(spec)]


def _digests(spec: EnvironmentSpec) -> Iterator[str]:
    for identifier in spec.installers:
        if spec.missing_lock(identifier) is not None:
            continue
        installer = find_installer(identifier)
        try:
            version = installer.prepare(spec).python_version
        except EnvError:
            continue  # no such interpreter here, so no such environment
        yield digest_of(spec, installer, version)


def _this_machines_device() -> Device:
    from admlops.environments.install.preflight import choose_device
    from admlops.health.gpus import detect_gpus

    return choose_device(detect_gpus())
