"""The input of a job, checked before it is kept: by its endpoint's schema, and for addresses that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpcore

from admlops.core.errors import AdmlopsError, UsageError
from admlops.downloads.public_addresses import PrivateAddressError, resolve_public
from admlops.service.job_api.requests import InvalidError, Wanted, split_message
from admlops.service.jobs.endpoints import ENDPOINTS
from admlops.service.settings import Settings

PORTS = {"http": 80, "https": 443}


def check_job(settings: Settings, endpoint: str, wanted: Wanted) -> dict[str, Any]:
    """Return the input as it is to be kept.

    Raises:
        InvalidError: it is not of the endpoint's form, cannot be done here, or names a private address.
    """
    own = ENDPOINTS.get(endpoint)
    try:
        decoded = own.decode(wanted.input)
    except UsageError as error:
        message, path = split_message(str(error.__cause__ or error.message))
        path = "input" if path == "body" else f"input.{path}"
        raise InvalidError(422, error.message, hint=error.hint, problems=((path, message),)) from error
    if not settings.allow_private_addresses:
        named = list(_addresses(wanted.input, "input"))
        if wanted.webhook is not None:
            named.append(("webhook", wanted.webhook))
        for path, address in named:
            _check_address(path, address)
    try:
        own.check(settings.layout, settings.jobs, decoded)
    except AdmlopsError as error:
        raise InvalidError(422, error.message, hint=error.hint, problems=(("input", error.message),)) from error
    return wanted.input


def _addresses(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _addresses(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _addresses(inner, f"{path}[{number}]")


def _check_address(path: str, address: str) -> None:
    """Refuse early what is refused anyway when the connection is made; a name may resolve otherwise by then."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme.lower()]
    except (ValueError, KeyError) as error:
        raise InvalidError(422, "the request is not valid", problems=((path, "not an address"),)) from error
    if host is None:
        raise InvalidError(422, "the request is not valid", problems=((path, "an address without a host"),))
    try:
        resolve_public(host, port)
    except PrivateAddressError as error:
        problem = "an address of the private network, which this service does not go to"
        raise InvalidError(422, "the request is not valid", problems=((path, problem),)) from error
    except httpcore.ConnectError:
        return  # not known now: the job will say so
