"""Lists the environments on disk, says which of them today's locks ask for, and finds those that a name means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from admlops.catalog import Model, list_models, load_model
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Device
from admlops.environments.activation import ACTIVATION_FILE, read_activation
from admlops.environments.ensure import find, find_model
from admlops.environments.install.installer import asks_for, find_installer
from admlops.environments.install.plan import locked_packages
from admlops.environments.integrity.lock_comparison import LockedBasePackage
from admlops.environments.prefix import INSTALLER_KEY, SENTINEL, STATE_FILE, Environment, read_state
from admlops.environments.spec.environment_spec import GROUPS, EnvironmentSpec, split_group
from admlops.environments.spec.requirements import LockedPackage

REPLACED = ".replaced-"
LEGACY_REPLACED = ".aside-"


@dataclass(frozen=True, kw_only=True)
class InstalledEnvironment:
    """One prefix that admlops made, complete or not. `spec` is None where no lock asks for its digest any more."""

    prefix: Path
    state: str
    details: Mapping[str, Any]
    spec: EnvironmentSpec | None

    @property
    def name(self) -> str:
        return str(self.details.get("name") or self.prefix.name)

    @property
    def digest(self) -> str | None:
        return self.details.get("digest")


def list_installed(layout: Layout) -> tuple[InstalledEnvironment, ...]:
    """List every prefix of ours below the environments' folder, by name; other folders are left out."""
    specs = all_specs(layout)
    folders = sorted(path for path in layout.environments.glob("*") if path.is_dir() and not path.name.startswith("."))
    return tuple(_read(folder, specs) for folder in folders if is_ours(folder))


def is_ours(prefix: Path) -> bool:
    """Decide whether admlops made this folder: it holds the sentinel or a state file."""
    return (prefix / SENTINEL).is_file() or (prefix / STATE_FILE).is_file()


def _read(prefix: Path, specs: Sequence[EnvironmentSpec]) -> InstalledEnvironment:
    details = read_state(prefix) or {}
    asked = (spec for spec in specs if spec.name == details.get("name") and asks_for(spec, details))
    return InstalledEnvironment(
        prefix=prefix, state=str(details.get("state", "unknown")), details=details, spec=next(asked, None)
    )


def all_specs(layout: Layout) -> list[EnvironmentSpec]:
    """List what the checkout asks for today: every model, variant and device, official evaluators and tools."""
    specs = [spec for name in list_models(layout) for spec in specs_of_model(load_model(layout, name))]
    return specs + [EnvironmentSpec.of_group(layout, *found) for found in group_names(layout)]


def group_names(layout: Layout) -> list[tuple[str, str]]:
    """List the environments of no model, group by group: `("official", "nuscenes")`, `("tools", "onnx")`."""
    return [
        (group, path.parent.name)
        for group in GROUPS
        for path in sorted((layout.envs / group).glob("*/environment.toml"))
    ]


def specs_of_model(model: Model, variant: str | None = None, device: Device | None = None) -> list[EnvironmentSpec]:
    """List the specifications of a model: all variants and devices, or those that are named."""
    names = [variant] if variant else list(model.variants)
    return [spec for name in names for spec in _specs_of_devices(model, name, device)]


def _specs_of_devices(model: Model, variant: str, device: Device | None) -> list[EnvironmentSpec]:
    if device is not None or variant not in model.variants:
        return [EnvironmentSpec.of_model(model, variant, device=device)]
    return [EnvironmentSpec.of_model(model, variant, device=one) for one in model.variants[variant].devices or (None,)]


def select(
    layout: Layout,
    names: Sequence[str],
    *,
    variant: str | None = None,
    device: str | None = None,
    prefer_ready: bool = False,
) -> tuple[InstalledEnvironment, ...]:
    """Find the prefixes on disk that names mean: `MODEL` (all its variants), `official/NAME`, `tools/NAME`, a folder.

    Without names, all of them. A model's name does not mean prefixes that no lock asks for any more. With
    `prefer_ready` it means the ready ones alone, if there is one: a build that failed beside them is passed over.

    Raises:
        EnvError: one is not there, in whatever state.
    """
    installed = list_installed(layout)
    if not names:
        return installed
    chosen: dict[Path, InstalledEnvironment] = {}
    for name in names:
        found = [one for one in installed if one.prefix.name == name]
        if not found:
            wanted = {spec.name for spec in specs_named(layout, name, variant, device)}
            found = [one for one in installed if one.spec is not None and one.name in wanted]
            found = [one for one in found if device is None or one.details.get("device") in (device, None)]
            if prefer_ready:
                found = [one for one in found if one.state == "ready"] or found
        if not found:
            raise not_installed(name, variant)
        chosen |= {one.prefix: one for one in found}
    return tuple(chosen.values())


def specs_named(layout: Layout, name: str, variant: str | None, device: str | None) -> list[EnvironmentSpec]:
    """List the specifications that `MODEL`, `official/NAME` or `tools/NAME` means on the command line."""
    grouped = split_group(name)
    if grouped is not None:
        return [EnvironmentSpec.of_group(layout, *grouped)]
    return specs_of_model(load_model(layout, name), variant, _device_of(device))


def ready_environment(
    layout: Layout, name: str, *, variant: str | None = None, device: str | None = None
) -> Environment:
    """Find the ready environment that a worker of `MODEL`, or `official/NAME` or `tools/NAME`, would get.

    Raises:
        EnvError: it is not installed, or not whole; says what to type.
    """
    grouped = split_group(name)
    if grouped is not None:
        found = find(layout, EnvironmentSpec.of_group(layout, *grouped))
    else:
        found = find_model(layout, load_model(layout, name), variant, device=_device_of(device))
    if found is None:
        raise _why_not_ready(layout, name, variant, device)
    return found


def _why_not_ready(layout: Layout, name: str, variant: str | None, device: str | None) -> EnvError:
    """Explain why `MODEL` has no environment that can be used: none is there, or it lacks the file of its variables."""
    wanted = {spec.name for spec in specs_named(layout, name, variant, device)}
    for one in list_installed(layout):
        if one.spec is not None and one.name in wanted and one.state == "ready" and read_activation(one.prefix) is None:
            return EnvError(
                f"{one.prefix.name} lacks {ACTIVATION_FILE}, the variables that its programs need",
                hint=f"admlops env repair {one.prefix.name}   # computes them",
            )
    return not_installed(name, variant)


def _device_of(text: str | None) -> Device | None:
    if text is not None and text not in get_args(Device):
        raise UsageError(f"--device {text} is neither cuda nor cpu", hint="pass --device cuda or --device cpu")
    return cast("Device | None", text)


def not_installed(name: str, variant: str | None) -> EnvError:
    """Explain that nothing is installed under a name."""
    option = f" --variant {variant}" if variant else ""
    return EnvError(f"{name}{option} has no ready environment here", hint=f"admlops env install {name}{option}")


def locked_base(installed: InstalledEnvironment) -> Sequence[LockedBasePackage] | None:
    """Read the packages of the installer's own lock that the prefix was built from; None if no lock asks for it."""
    if installed.spec is None:
        return None
    return find_installer(str(installed.details[INSTALLER_KEY])).locked_packages(installed.spec)


def locked_python(installed: InstalledEnvironment) -> Sequence[LockedPackage] | None:
    """Read the Python packages that the prefix's locks ask for, for its Python; None if no lock asks for it."""
    version = installed.details.get("python")
    return None if installed.spec is None or version is None else locked_packages(installed.spec, str(version))


def replaced_folder(prefix: Path, time_text: str) -> Path:
    """Name the folder beside a prefix that keeps what a repair at this time replaced."""
    return prefix.with_name(f"{prefix.name}{REPLACED}{time_text}")


def list_replaced(layout: Layout) -> list[Path]:
    """List the folders that keep what repairs replaced, those of admlops 0.1 too."""
    return sorted(
        path
        for mark in (REPLACED, LEGACY_REPLACED)
        for path in layout.environments.glob(f"*{mark}[0-9]*-[0-9]*")
        if path.is_dir() and not path.name.startswith(".")
    )
