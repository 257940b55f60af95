"""Every error a person can cause or meet, and the exit code it ends the command with.

AdmlopsError                 2   the base: what happened, where, and the next command to type
├── UsageError               2   an option or a file of the user's is wrong
├── MissingExtraError        2   an optional library is not installed; also an ImportError
├── CatalogError             2   a model.toml is missing or wrong
├── DataError                2   a data set is missing, half there or unreadable
├── EnvError                 2   an environment is missing, locked by another process or not what its lock says
├── StorageError             2   a disk is full, a folder read-only or already in use
├── DownloadError            2   something cannot be fetched, or what came is not what was asked for
├── CheckpointError          2   weights are missing, not the recorded ones, damaged, or would run code when loaded
├── RecordError              2   a record or run folder is not what its schema says
├── TrackingError            2   a tracking server cannot be reached or refuses, or a log folder holds something else
├── ComparabilityError       2   two numbers of different protocols were about to be ranked or subtracted
├── RunFailedError           1   the command was right, but a model failed: see the run's failures
├── DifferencesError         1   the command was right, but what it checked is not as it should be
└── StoppedError           130   Ctrl-C or TERM ended the work, which can go on later

0 is success. 141 ends a command whose reader went away (`admlops results list | head`). `admlops.cli.main` catches the
base class, prints message and hint, and exits with the code. Anything else that escapes is a defect of ours and keeps
its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class AdmlopsError(Exception):
    """Something the user can mend. `message` names the file, key or option; `hint` is the next command to type."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}"


class UsageError(AdmlopsError):
    """An option, an environment variable or a file that the user named is wrong."""


class MissingExtraError(AdmlopsError, ImportError):
    """An optional library is not installed. `extra` is the name in `pip install "admlops[extra]"`."""

    def __init__(self, what: str, extra: str, error: ImportError) -> None:
        missing = error.name or extra
        AdmlopsError.__init__(
            self, f"{what} needs {missing}, which is not installed", hint=f'pip install "admlops[{extra}]"'
        )
        self.extra = extra
        self.name = missing


class CatalogError(AdmlopsError):
    """A `model.toml` is missing, unreadable or not valid."""


class DataError(AdmlopsError):
    """A data set is missing, incomplete or unreadable."""


class EnvError(AdmlopsError):
    """An environment is missing, being built by another process, or does not match its lock."""


class StorageError(AdmlopsError):
    """A disk is full, a folder cannot be written, or two processes want the same folder."""


class DownloadError(AdmlopsError):
    """Something cannot be fetched from the network, or what came is not what was asked for."""


class CheckpointError(AdmlopsError):
    """A checkpoint is missing, is not the one that was recorded, is damaged, or would run code when it is loaded."""


class RecordError(AdmlopsError):
    """A record or a run folder does not follow its schema, or follows a newer one."""


class TrackingError(AdmlopsError):
    """A tracking server cannot be reached or refuses, or the folder of its files holds something else."""


class ComparabilityError(AdmlopsError):
    """Numbers measured under different protocols were about to be ranked or subtracted."""


class RunFailedError(AdmlopsError):
    """The command was right, but the model failed on some or all samples."""

    exit_code: ClassVar[int] = 1


class DifferencesError(AdmlopsError):
    """A check found that something is not as it should be: files of a run, an environment, a source, a data set."""

    exit_code: ClassVar[int] = 1


class StoppedError(AdmlopsError):
    """The person stopped the work. The hint says how it goes on."""

    exit_code: ClassVar[int] = 130
