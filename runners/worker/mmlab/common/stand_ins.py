"""Stand-ins for what a model's source imports, that this machine lacks, and that nothing here calls."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, Dict, List, Mapping, Optional, Sequence

UNCALLED = {"IPython": "", "av": "", "av2": "", "ortools": "", "pyproj": "", "tkinter": "_tkinter"}
"""Packages that sources import and the adapters' way through them never calls; beside each the module without which it
cannot be imported, where it is a part that distributions leave out."""
ANSWERS: Dict[str, Any] = {"IPython.get_ipython": lambda: None, "IPython.version_info": (9, 0, 0, "")}
"""What a stand-in answers: no IPython is running, in a version that needs no help of matplotlib's, which asks for both
as soon as a module of that name has been imported."""
ADVICE: Dict[str, str] = {}
"""What to do where a part of a source has a stand-in and is called, by the part's name."""


class AbsentPackageError(ImportError):
    """A package that has a stand-in was called.

    An ImportError, because libraries that can do without a package try it, and expect this one.
    """


def stand_in_for(packages: Mapping[str, str]) -> List[str]:
    """Let packages be imported that are not here; what of them is called raises AbsentPackageError, which names them.

    Args:
        packages: name → a module that it needs besides, or an empty text.

    Returns:
        The packages that a stand-in takes the place of.
    """
    absent = [name for name, needs in packages.items() if not (exists(name) and (not needs or exists(needs)))]
    if absent:
        # First, because a package may be there without a part that it cannot do without.
        sys.meta_path.insert(0, _Finder(frozenset(absent)))
    return absent


def take_place_of(part: str, advice: str) -> None:
    """Let a part of a model's source be imported by a stand-in, though it is there: what it needs is not.

    Args:
        part: the package's whole name.
        advice: what to do where it is called all the same, as the end of a sentence.
    """
    if part not in ADVICE:
        ADVICE[part] = advice
        sys.meta_path.insert(0, _Finder(frozenset([part])))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds every module in and below the packages that are absent."""

    def __init__(self, packages: "frozenset[str]") -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Optional[Sequence[Any]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if any((fullname + ".").startswith(package + ".") for package in self._packages):
            return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)
        return None


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _AbsentModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: what is absent has no body."""


class _AbsentModule(types.ModuleType):
    """A module whose every attribute is a class that cannot be called."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(self.__name__, name)


class _AbsentType(type):
    """The class of what an absent package would have: it can be named, inherited from and looked into, not called."""

    def __getattr__(cls, name: str) -> Any:
        return _attribute("{}.{}".format(cls.__module__, cls.__name__), name)

    def __call__(cls, *_: Any, **__: Any) -> Any:
        absent = next(base for base in reversed(cls.__mro__[:-1]) if type(base) is _AbsentType)
        called = "{}.{}".format(absent.__module__, absent.__name__)
        for part, advice in ADVICE.items():
            if called.startswith(part + "."):
                raise AbsentPackageError("{} was called, and {} runs nowhere here: {}".format(called, part, advice))
        raise AbsentPackageError(
            "{0} was called, and the package {1} is not installed in this environment: "
            "install it there, or choose a configuration that does not call it".format(called, called.partition(".")[0])
        )


class MissingOperations(types.ModuleType):
    """A module that has a function for everything, which says why it does nothing as soon as it is called.

    Args:
        name: the module's.
        why: the end of the sentence that begins with the function's whole name.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name)
        self.__dict__["_why"] = why

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        said = "{}.{} {}".format(self.__name__, name, self.__dict__["_why"])

        def missing(*_: Any, **__: Any) -> Any:
            raise RuntimeError(said)

        return missing


def _attribute(owner: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    answer = ANSWERS.get("{}.{}".format(owner, name))
    return _AbsentType(name, (), {"__module__": owner}) if answer is None else answer


def exists(name: str) -> bool:
    """Tell whether a module can be found, without importing it but for the packages above it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
