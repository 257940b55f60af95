"""Read a Python file of settings without executing it: assignments of literals, of `dict`, `list` and `tuple` calls.

Every value keeps its line, so that a refusal can name it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError

ONLY = "write values out: literals, dict(...), list(...), tuple(...), and numbers such as 1 << 30"
LARGEST = 2**63
DEEPEST = 32
"""How deep values may lie in each other: a term of a sum lies in the sum."""
_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.LShift: operator.lshift,
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
}


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value and its line. `content` is a dictionary or list of values, or a plain scalar."""

    content: Any
    line: int

    @property
    def plain(self) -> Any:
        """The value without lines: dictionaries, lists and scalars."""
        if isinstance(self.content, dict):
            return {key: value.plain for key, value in self.content.items()}
        if isinstance(self.content, list):
            return [value.plain for value in self.content]
        return self.content


def read_literals(path: Path) -> dict[str, Value]:
    """Return what a file assigns, by name.

    Raises:
        UsageError: the file cannot be read, is not Python, holds code, or assigns a name twice: names its line.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path.parent}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UsageError(f"{path}:{line}: this is not Python: {error}", hint=f"python -m py_compile {path}") from error
    reader = _Reader(path)
    found: dict[str, Value] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                reader.add(found, target.id, statement.value, line=statement.lineno)
                continue
        raise reader.refuse(statement)
    return found


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: list[str] = []
        self._depth = 0

    def refuse(self, node: ast.AST) -> UsageError:
        """Return the error for code that would have to be executed."""
        return self._wrong(
            getattr(node, "lineno", 1), f"`{_quote(node)}` is code, and the file is read without executing any", ONLY
        )

    def _wrong(self, line: int, problem: str, instead: str) -> UsageError:
        """Return the error for the value that is being read, with the file, the line and the key."""
        key = f"{'.'.join(self._names)}: " if self._names else ""
        return UsageError(f"{self._path}:{line}: {key}{problem}", hint=instead)

    def add(self, found: dict[Any, Value], name: Any, node: ast.expr, *, line: int) -> None:
        """Read the value of a name and keep it. Raises UsageError for a name that has one already."""
        if isinstance(name, str):
            self._require_text(name, line)
        self._names.append(str(name))
        if name in found:
            first = found[name].line
            problem = f"this is the second value, and line {first} has the first"
            raise self._wrong(line, problem, f"remove {name} from line {first} or from line {line}")
        found[name] = self.read(node)
        self._names.pop()

    def read(self, node: ast.expr) -> Value:
        """Return the value of a literal. Raises UsageError for anything else."""
        if self._depth == DEEPEST:
            problem = f"this lies more than {DEEPEST} deep in other values, or in a sum"
            raise self._wrong(node.lineno, problem, "write the number itself, or fewer brackets")
        self._depth += 1
        value = self._read(node)
        self._depth -= 1
        return value

    def _read(self, node: ast.expr) -> Value:
        line = node.lineno
        if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex)):
            if isinstance(node.value, str):
                self._require_text(node.value, line)
            return Value(content=node.value, line=line)
        if isinstance(node, (ast.List, ast.Tuple)):
            return Value(content=[self.read(one) for one in node.elts], line=line)
        if isinstance(node, ast.Dict):
            return Value(content=self._dictionary(node), line=line)
        if isinstance(node, ast.Call):
            return self._call(node)
        return Value(content=self._number(node), line=line)

    def _require_text(self, text: str, line: int) -> None:
        """Raise UsageError for a text that can name nothing: with a NUL, or half of a surrogate pair."""
        if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
            problem = f"{text[:60]!a} has a NUL or half of a surrogate pair, as no name or path has"
            raise self._wrong(line, problem, "write the text without it")

    def _dictionary(self, node: ast.Dict) -> dict[Any, Value]:
        found: dict[Any, Value] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, (str, int)):
                raise self.refuse(key or node)
            self.add(found, key.value, value, line=key.lineno)
        return found

    def _keywords(self, node: ast.Call) -> dict[Any, Value]:
        found: dict[Any, Value] = {}
        for one in node.keywords:
            self.add(found, str(one.arg), one.value, line=one.lineno)
        return found

    def _call(self, node: ast.Call) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "dict" and not node.args and all(one.arg for one in node.keywords):
            return Value(content=self._keywords(node), line=node.lineno)
        if name in ("dict", "list", "tuple") and not node.keywords and len(node.args) <= 1:
            empty: Any = {} if name == "dict" else []
            inner = self.read(node.args[0]) if node.args else Value(content=empty, line=node.lineno)
            if isinstance(inner.content, type(empty)):
                return inner
        raise self.refuse(node)

    def _number(self, node: ast.expr) -> int | float:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.read(node.operand).content
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self.read(node.left).content, self.read(node.right).content
            small = type(node.op) is not ast.LShift or (type(right) is int and 0 <= right < LARGEST.bit_length())
            if type(left) is int and type(right) is int and small:
                number = _OPERATORS[type(node.op)](left, right)
                if abs(number) < LARGEST:
                    return number
        raise self.refuse(node)


def _quote(node: ast.AST) -> str:
    """Return the beginning of a piece of code, in one line."""
    try:
        return ast.unparse(node).splitlines()[0][:60]
    except RecursionError:
        return "…"
