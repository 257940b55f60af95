"""What a publisher offers: the parts of a data set, the archives or objects of each, and the terms.

A publication is one TOML file in `sets/`, and that is all that a new one needs.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from admlops.core.errors import UsageError

FOLDER = Path(__file__).with_name("sets")


class Archive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a publication.

    `about_gb` is its size as it is known, for a plan without a network; `about_unpacked_gb` that of its content where
    this is far from it. `md5` holds one for each generation that was published; any of them is taken.
    """

    file: str
    about_gb: float
    about_unpacked_gb: float | None = None
    md5: tuple[str, ...] = ()


class Objects(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Single files in a public bucket of S3: those whose keys begin with `prefix`, which ends with a slash.

    What comes next in a key is the log that the file belongs to.
    """

    endpoint: str
    bucket: str
    region: str
    prefix: str


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part that a person can ask for: archives, or objects.

    Its files go to `into` below the data set's folder. `root` is a folder within the archives that is left out where
    it is there.
    """

    text: str
    into: str = ""
    root: str = ""
    archives: tuple[Archive, ...] = ()
    objects: Objects | None = None

    @property
    def about_bytes(self) -> int:
        """What is to be fetched, as far as it is known without a network."""
        return int(sum(one.about_gb for one in self.archives) * 1e9)


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The publisher's terms of use: their name, where they are to be read, and what they say in short."""

    name: str
    page: str
    text: str

    @property
    def sha256(self) -> str:
        """The digest that an acceptance is of: other terms must be accepted anew."""
        return hashlib.sha256("\n".join((self.name, self.page, self.text)).encode()).hexdigest()


class Publication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data set as it is published. Without `base`, the address that its archives stand under, they come by hand."""

    id: str
    title: str
    folder: str
    page: str
    terms: Terms
    parts: dict[str, Part]
    base: str = ""
    by_hand: str = ""

    def choose(self, names: Sequence[str]) -> dict[str, Part]:
        """Return the parts of these names, in the publication's order.

        Raises:
            UsageError: no name, or one that is unknown.
        """
        known = ", ".join(self.parts)
        if not names:
            raise UsageError(
                f"{self.title} has parts of very different sizes, and none is named; it has: {known}",
                hint=f"admlops data fetch {self.id} --part {next(iter(self.parts))}",
            )
        for name in names:
            if name not in self.parts:
                near = difflib.get_close_matches(name, self.parts, n=1)
                raise UsageError(
                    f'{self.title} has no part "{name}"; it has: {known}',
                    hint=f"admlops data fetch {self.id} --part {near[0] if near else next(iter(self.parts))}",
                )
        return {name: part for name, part in self.parts.items() if name in names}


def list_publications() -> list[str]:
    """Return the ids of all publications."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_publication(name: str) -> Publication:
    """Read the publication `name`.

    Raises:
        UsageError: there is none of that name.
    """
    known = list_publications()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        raise UsageError(
            f'no data set "{name}" is known to be published; known are {", ".join(known)}',
            hint=f"admlops data fetch {near[0] if near else known[0]}",
        )
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    return msgspec.convert({"id": name, **content}, Publication)
