"""Tokens and what they allow. A token is compared by its digest, in a time that tells nothing about it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError

SCOPES = ("read", "run")
"""What a token may be for: to look, or to start and stop jobs as well."""
MIN_LENGTH = 16
PRIVATE_MODE = 0o077
_TOML_HINT = 'write [[token]] and below it scope = "run", token = "…"'


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks: the token's name, never the token. `way` is how it was shown: header, cookie, or none was needed."""

    name: str
    scope: str
    way: str

    def may(self, scope: str) -> bool:
        """Tell whether this one may do what needs `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


@dataclass(frozen=True, kw_only=True)
class _Token:
    name: str
    scope: str
    digest: bytes


class Tokens:
    """All tokens that the service knows; without any, everybody who reaches it may do everything."""

    def __init__(self, tokens: Sequence[tuple[str, str, str]] = ()) -> None:
        """`tokens` are (name, scope, token)."""
        self._tokens = [_Token(name=name, scope=scope, digest=_digest(token)) for name, scope, token in tokens]

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def find(self, token: str) -> Identity | None:
        """Return whose token it is. Every token is compared, whichever fits."""
        digest = _digest(token)
        found = None
        for one in self._tokens:
            if hmac.compare_digest(one.digest, digest):
                found = one
        return None if found is None else Identity(name=found.name, scope=found.scope, way="header")


def read_token_file(path: Path) -> Tokens:
    """Read tokens: lines `scope token` or `scope name token`, or, of a `.toml`, tables `[[token]]` with these keys.

    Raises:
        UsageError: others may read the file, or it is not of that form. No message holds a token.
    """
    text = _read_private(path, make_token_hint(path))
    tokens = _from_toml(path, text) if path.suffix == ".toml" else _from_lines(path, text)
    if not tokens:
        raise UsageError(f"{path} holds no token", hint=make_token_hint(path))
    names = [name for name, _, _ in tokens]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{path} has the name {twice[0]} twice", hint="give every token a name of its own")
    return Tokens(tokens)


def read_secret_file(path: Path) -> bytes:
    """Read a secret: all of a file but the white space around it.

    Raises:
        UsageError: others may read the file, or it is too short.
    """
    hint = f"(umask 077; openssl rand -hex 32 > {path})"
    secret = _read_private(path, hint).strip().encode()
    if len(secret) < MIN_LENGTH:
        raise UsageError(f"{path} holds a secret that can be guessed", hint=hint)
    return secret


def make_token_hint(path: Path) -> str:
    """Return the command that writes a token file."""
    return f"(umask 077; echo run $(openssl rand -hex 32) > {path})"


def new_secret() -> str:
    """Return 256 random bits as text that a URL may hold."""
    return secrets.token_urlsafe(32)


def _read_private(path: Path, hint: str) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}", hint=hint) from error
    if mode & PRIVATE_MODE:
        raise UsageError(
            f"{path} is secret, and its mode {mode & 0o777:o} lets others at them",
            hint=f"chmod 600 {path}   # on a volume without modes: a copy on the container's disk",
        )
    return text


def _from_lines(path: Path, text: str) -> list[tuple[str, str, str]]:
    tokens: list[tuple[str, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) not in {2, 3}:
            raise UsageError(
                f"{path}: line {number} has {len(words)} words", hint="write `scope token` or `scope name token`"
            )
        name = words[1] if len(words) == 3 else f"{words[0]}-{len(tokens) + 1}"
        tokens.append(_checked(f"{path}: line {number}", name, words[0], words[-1]))
    return tokens


def _from_toml(path: Path, text: str) -> list[tuple[str, str, str]]:
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The library's message may quote what stands there.
        raise UsageError(
            f"{path} is not TOML", hint='write [[token]] and below it scope = "run", token = "…"'
        ) from error
    entries = content.get("token")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise UsageError(f"{path} has no [[token]]", hint=_TOML_HINT)
    tokens = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: token {number}"
        unknown = sorted(set(entry) - {"name", "scope", "token"})
        if unknown:
            raise UsageError(f"{where} has the key {unknown[0]}", hint="its keys are name, scope and token")
        scope, token = entry.get("scope"), entry.get("token")
        name = entry.get("name", f"{scope}-{number}")
        if not (isinstance(scope, str) and isinstance(token, str) and isinstance(name, str)):
            raise UsageError(f"{where} lacks scope or token", hint='write scope = "run" and token = "…"')
        tokens.append(_checked(where, name, scope, token))
    return tokens


def _checked(where: str, name: str, scope: str, token: str) -> tuple[str, str, str]:
    if scope not in SCOPES:
        raise UsageError(f"{where} has the scope {scope!r}", hint=f"a scope is {' or '.join(SCOPES)}")
    if len(token) < MIN_LENGTH or not token.isascii():
        raise UsageError(
            f"{where} has a token that can be guessed, or that no header can hold",
            hint=f"at least {MIN_LENGTH} ASCII characters: openssl rand -hex 32",
        )
    return name, scope, token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
