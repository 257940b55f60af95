"""Words that a person gives to runs, to find them again: `tags.json` in the run's folder, outside its manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from admlops.core.errors import RecordError, UsageError
from admlops.core.storage import write_atomically
from admlops.results.run_folder import RunFolder
from admlops.results.run_manifest import TAGS_FILE

TAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]{0,63}")


def read_tags(run: RunFolder) -> tuple[str, ...]:
    """Return the tags of a run, in the order in which they were given.

    Raises:
        RecordError: its `tags.json` is not a list of texts.
    """
    path = run.path / TAGS_FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} cannot be read: {error}", hint=f"rm {path}   # the run's tags are then gone"
        ) from error
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise RecordError(f"{path} is not a list of texts", hint=f"rm {path}   # the run's tags are then gone")
    return tuple(content)


def write_tags(run: RunFolder, tags: Iterable[str]) -> None:
    """Give a run these tags and no others. Raises StorageError."""
    path = run.path / TAGS_FILE
    kept = list(dict.fromkeys(tags))
    if kept:
        write_atomically(path, (json.dumps(kept) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def check_tag(tag: str) -> None:
    """Raise UsageError for an invalid tag."""
    if not TAG.fullmatch(tag):
        raise UsageError(
            f"{tag!r} is no tag: letters, digits and . _ - / are taken, and it begins with a letter or a digit",
            hint="admlops results tag RUN paper   # for example",
        )
