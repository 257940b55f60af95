"""The error of every reader of data sets."""


class DataError(Exception):
    """A data set is missing, incomplete or unreadable. The text names the file or token."""
