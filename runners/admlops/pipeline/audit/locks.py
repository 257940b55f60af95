"""Everything that a checkout locks by name and version: the host's packages, the environments', npm's and conda's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from admlops.catalog import list_models, load_model
from admlops.core.paths import Layout
from admlops.environments.spec.requirements import read_lock

OF_HOST = {
    "requirements.txt": "host",
    "install/uv.txt": "host",
    "install/rerun.txt": "host: rerun",
    "install/ray.txt": "host: ray",
}
OF_DOCS = {"docs/requirements.txt": "docs"}
NPM_LOCKS = "runners/admlops/**/vendor/package-lock.json"
CONDA_LOCKS = "envs/**/conda-lock.yml"


@dataclass(frozen=True, order=True)
class Locked:
    """One package of one lock. `index` is where its name means something: `python`, `npm` or `conda`.

    `version` is without the local part of a build, `1.9.1` for `1.9.1+cu111`; `licence` is what the lock itself says.
    """

    index: str
    name: str
    version: str
    used_by: str
    lock: str
    licence: str = ""


def list_locked(layout: Layout) -> list[Locked]:
    """List every package of every lock, sorted.

    Raises:
        EnvError: a lock cannot be read.
    """
    root = layout.checkout
    found = [one for lock, used_by in _python_locks(root).items() for one in _read_python(root, lock, used_by)]
    found += [one for file in sorted(root.glob(NPM_LOCKS)) for one in _read_npm(root, file)]
    found += [one for lock in list_conda_locks(layout) for one in _read_conda(root, lock)]
    return sorted({*found, *_packed(layout)})


def list_conda_locks(layout: Layout) -> list[str]:
    """List conda's locks, whose packages neither database knows."""
    return sorted(str(path.relative_to(layout.checkout)) for path in layout.checkout.glob(CONDA_LOCKS))


def _python_locks(root: Path) -> Mapping[str, str]:
    """Map each lock of Python packages, as a path in the checkout, to who uses it."""
    locks = {lock: used_by for lock, used_by in (OF_HOST | OF_DOCS).items() if (root / lock).is_file()}
    for path in sorted(root.glob("envs/**/requirements*.txt")):
        folder = path.parent.relative_to(root / "envs")
        locks[str(path.relative_to(root))] = " ".join(folder.parts)
    return locks


def _read_python(root: Path, lock: str, used_by: str) -> Iterator[Locked]:
    for one in read_lock(root / lock):
        version = one.version.partition("+")[0]
        yield Locked(index="python", name=one.name, version=version, used_by=used_by, lock=lock)


def _read_npm(root: Path, file: Path) -> Iterator[Locked]:
    """Read npm's own lock (lockfileVersion 2 and 3), which names licences; builds for other platforms are left out."""
    relative = str(file.relative_to(root))
    for place, facts in json.loads(file.read_text())["packages"].items():
        name = place.rpartition("node_modules/")[2]
        if name and "version" in facts and not facts.get("optional"):
            licence = str(facts.get("license", ""))
            yield Locked(
                index="npm", name=name, version=facts["version"], used_by="host: pages", lock=relative, licence=licence
            )


def _read_conda(root: Path, lock: str) -> Iterator[Locked]:
    """Read a lock of conda's packages; Python packages that it names as well are in a lock of their own."""
    used_by = " ".join(Path(lock).parent.relative_to("envs").parts)
    for one in msgspec.yaml.decode((root / lock).read_bytes())["package"]:
        if one["manager"] == "conda":
            yield Locked(index="conda", name=one["name"], version=str(one["version"]), used_by=used_by, lock=lock)


def _packed(layout: Layout) -> Iterator[Locked]:
    """Yield the packages of npm whose weights a model's catalogue pins."""
    for model in (load_model(layout, name) for name in list_models(layout)):
        for point in model.checkpoints.values():
            if point.npm is not None:
                yield Locked(
                    index="npm",
                    name=point.npm.package,
                    version=point.npm.version,
                    used_by=f"{model.name} weights",
                    lock=f"envs/{model.name}/model.toml",
                )
