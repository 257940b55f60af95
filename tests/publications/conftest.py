"""Fixtures of the tests of published data sets."""

from tests.typed import typed

__all__ = ["typed"]
