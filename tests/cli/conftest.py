"""What the tests of the command line share."""

from tests.typed import typed

__all__ = ["typed"]
