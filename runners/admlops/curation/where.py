"""`--where`: a condition, with the definitions of the tags that it asks for, chooses samples of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.curation.expression import Condition, check_tags, read_condition
from admlops.curation.tags import read_rules
from admlops.datasets.json_tables import TABLES, HasTables

if TYPE_CHECKING:
    from admlops.datasets.base import Dataset

OPTION = "--where"
Identity = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Where:
    """A choice of samples. `tags` holds the condition of each tag that it asks for, so it needs no file of rules."""

    condition: Condition
    tags: Mapping[str, Condition]

    @property
    def text(self) -> str:
        """The condition as it was given."""
        return self.condition.text

    @property
    def definitions(self) -> dict[str, str]:
        """The conditions of its tags, as they were given."""
        return {name: condition.text for name, condition in self.tags.items()}


def read_where(text: str, rules: Path | None = None, *, option: str = OPTION) -> Where:
    """Return the choice that a person wrote.

    Args:
        rules: a file of rules beside the built-in ones.

    Raises:
        UsageError: the condition or a rule is wrong, or no rule defines a tag.
    """
    condition = read_condition(text, where=option)
    known = read_rules(rules).conditions
    check_tags(condition, known)
    return Where(condition=condition, tags={name: known[name] for name in condition.tags})


def restore_where(text: str, definitions: Mapping[str, str]) -> Where:
    """Return the choice that a run was made with, from what its header says. Raises UsageError as `read_where`."""
    condition = read_condition(text, where="the run's --where")
    tags = {name: read_condition(own, where=f"tag {name}", takes_tags=False) for name, own in definitions.items()}
    check_tags(condition, tags)
    return Where(condition=condition, tags=tags)


def choose_samples(data: Dataset, where: Where) -> frozenset[str]:
    """Return the tokens of the samples where a condition holds; the answer is cached while the tables stay the same.

    Raises:
        UsageError: the data set does not have what the condition is about.
        DataError: a table is missing, or is not whole.
    """
    if isinstance(data, HasTables) and TABLES in data.capabilities:
        return _choose_again(_Asked(data, where), _identify(data.tables_folder))
    return _choose(data, where)


def _choose(data: Dataset, where: Where) -> frozenset[str]:
    from admlops.curation.sample_tables import SampleTables  # it imports what only tables need

    return frozenset(SampleTables(data).choose(where.condition, where.tags))


def _identify(folder: Path) -> Identity:
    files = sorted(folder.glob("*.json"))
    return tuple((path.name, (state := path.stat()).st_size, state.st_mtime_ns) for path in files)


class _Asked:
    """A question; two are equal where kind, root, version, condition and definitions are."""

    def __init__(self, data: Dataset, where: Where) -> None:
        self.data = data
        self.where = where
        self._key = (data.kind, data.root, data.version, where.text, tuple(sorted(where.definitions.items())))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and other._key == self._key


@lru_cache(maxsize=2)
def _choose_again(asked: _Asked, _identity: Identity) -> frozenset[str]:
    return _choose(asked.data, asked.where)
