"""A deployment in the making: every key gives a field its value, and no two keys contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError
from admlops.deployment.deploy_config import Deployment, refuse_key


@dataclass(kw_only=True)
class Draft:
    """A deployment in the making: its fields so far, the lines of its keys, and remarks.

    `keys` is the key of each field's value. `models` are the files of backends, and `listed` the backends to evaluate.
    """

    file: Path
    lines: dict[str, int]
    fields: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    models: dict[str, str | None] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)

    def refuse(self, key: str, problem: str, instead: str) -> UsageError:
        """Return the error for a key, with the file and the line."""
        return refuse_key(self.file, self.lines, key, problem, instead)

    def keep(self, name: str, key: str, value: Any) -> None:
        """Give a field its value. Raises UsageError if another key gave it another."""
        self._require_alike(name, key, self.fields.get(name, value), value)
        self.fields[name] = value
        self.keys.setdefault(name, key)

    def keep_model(self, backend: str, key: str, path: str | None) -> None:
        """Give a backend its file. Raises UsageError if another key gave it another."""
        name = f"models.{backend}"
        self._require_alike(name, key, self.models.get(backend, path), path)
        self.models[backend] = path
        self.keys.setdefault(name, key)

    def _require_alike(self, name: str, key: str, earlier: Any, value: Any) -> None:
        if earlier != value:
            first = self.keys[name]
            here, there = (repr(str(one) if isinstance(one, Path) else one) for one in (value, earlier))
            problem = f"{here}, and {first} in line {self.lines[first]} says {there}"
            raise self.refuse(key, problem, f"remove {key} or {first}")

    def say(self, key: str, text: str) -> None:
        """Keep a remark on a key."""
        self.words.append(f"{self.file.name}:{self.lines[key]}: {key}: {text}")

    def finish(self) -> Deployment:
        """Return the deployment, complete. Raises UsageError for a file of a backend that is not listed."""
        for backend in self.models if self.listed else ():
            if backend not in self.listed:
                (listing, *_) = self.listed.values()
                raise self.refuse(
                    self.keys[f"models.{backend}"],
                    f"{listing} in line {self.lines[listing]} leaves {backend} out",
                    f"remove it, or add {backend!r} to {listing}",
                )
        models = {backend: self.models.get(backend) for backend in self.listed or self.models}
        keys = {f"models.{backend}": key for backend, key in self.listed.items()} | self.keys
        fields = {**self.fields, "models": models, "keys": keys}
        if fields.get("backend") == "onnxruntime":
            fields.setdefault("mode", "onnx")
        return Deployment(file=self.file, lines=self.lines, words=tuple(self.words), **fields)
