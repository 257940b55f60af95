"""What these tests share: the command line in this process."""

from tests.typed import typed

__all__ = ["typed"]
