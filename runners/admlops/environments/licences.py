"""Licences that a person must accept before anything under them is installed, once per user and licence.

AGPL-3.0 asks whoever passes on, or offers over a network, a work based on the code to give its source under the same
terms; ultralytics, its publisher for YOLO, reads that as binding every project that uses it. So its environments are
built after an explicit yes, and never on the way to something else.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from admlops.catalog import Model
from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error, write_atomically

ASKED = ("AGPL",)
"""Beginnings of the SPDX identifiers that need a yes."""
TERMS = {
    "AGPL-3.0-only": "https://www.gnu.org/licenses/agpl-3.0.html",
    "AGPL-3.0-or-later": "https://www.gnu.org/licenses/agpl-3.0.html",
}
FILE_NAME = "accepted-licences.json"


def asked_licences(model: Model) -> tuple[str, ...]:
    """List the licences of the model's code and weights that need a yes, each once."""
    both = (model.license, model.weights_license or "")
    return tuple(dict.fromkeys(one for one in both if one.startswith(ASKED)))


def open_licences(model: Model) -> tuple[str, ...]:
    """List those that this user has not accepted yet."""
    accepted = _read()
    return tuple(one for one in asked_licences(model) if one not in accepted)


def accept(model: Model) -> None:
    """Write down that the user accepts the licences of a model.

    Raises:
        StorageError: the user's folder cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    known = _read() | {one: {"accepted": now, "for": model.name} for one in open_licences(model)}
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(known, indent=1) + "\n").encode())
    except OSError as error:
        raise explain_os_error(error, file) from error


def require_accepted(model: Model) -> None:
    """Refuse to build a model's environment before its licences are accepted.

    Raises:
        EnvError: one is not; says what it is of, where its terms are, and how to say yes.
    """
    wanted = open_licences(model)
    if wanted:
        raise EnvError(describe(model, wanted), hint=f"admlops env install {model.name} --accept-licence")


def describe(model: Model, licences: tuple[str, ...]) -> str:
    """Say what is under which licence, and where its terms are."""
    of = {"its code": model.license, "its weights": model.weights_license}
    named = ", ".join(f"{what} {'is' if what == 'its code' else 'are'} under {one}" for what, one in of.items() if one)
    terms = " and ".join(dict.fromkeys(TERMS.get(one, one) for one in licences))
    return f"{model.name} is installed only after a yes to its licence: {named} ({terms})"


def _file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "admlops" / FILE_NAME


def _read() -> dict[str, object]:
    """What was accepted; a file that is missing or not readable holds nothing, so that the question is asked again."""
    try:
        found = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
