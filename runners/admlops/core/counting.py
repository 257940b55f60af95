"""Numbers with the noun they count."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """Return `1 file`, `2 files`, `1,204 files`; a noun that ends in x or ss takes es."""
    plural = f"{noun}es" if noun.endswith(("x", "ss")) else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
