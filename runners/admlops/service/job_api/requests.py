"""What a request to run a job says, checked before anything is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from admlops.service.queue.job import DEFAULT_EXECUTION_TIMEOUT_S, DEFAULT_TTL_S

MIN_EXECUTION_MS, MIN_TTL_MS, WEEK_MS = 5_000, 10_000, 7 * 86_400_000
MAX_WAIT_MS, DEFAULT_WAIT_MS = 90_000, 90_000
"""A proxy in front of a pod cuts answers at 100 s."""


class InvalidError(Exception):
    """A request that is refused. `problems` are (path, what is wrong)."""

    def __init__(
        self, status: int, message: str, *, hint: str | None = None, problems: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status
        self.message = message
        self.problems = problems


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a job may take and wait [ms], and whether others go first."""

    executionTimeout: Annotated[int, msgspec.Meta(ge=MIN_EXECUTION_MS, le=WEEK_MS)] = round(  # noqa: N815
        DEFAULT_EXECUTION_TIMEOUT_S * 1000
    )
    ttl: Annotated[int, msgspec.Meta(ge=MIN_TTL_MS, le=WEEK_MS)] = round(DEFAULT_TTL_S * 1000)
    lowPriority: bool = False  # noqa: N815


class RunBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of /run and /runsync."""

    input: dict[str, Any]
    webhook: Annotated[str, msgspec.Meta(max_length=2000, pattern="^https?://[^/]+")] | None = None
    policy: Policy = msgspec.field(default_factory=Policy)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A job that somebody wants to run."""

    input: dict[str, Any]
    webhook: str | None
    policy: Policy


async def read_run(request: Request) -> Wanted:
    """Read the body of /run.

    Raises:
        InvalidError: it is not JSON (400), or not of that form (422).
    """
    content = await request.body()
    try:
        raw = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidError(400, f"the body is not JSON: {error}") from error
    try:
        body = msgspec.convert(raw, RunBody)
    except msgspec.ValidationError as error:
        message, path = split_message(str(error))
        raise InvalidError(422, "the request is not valid", problems=((path, message),)) from error
    given = body.input
    if given == {"input": {}}:  # what the Python SDK makes of {"input": {}}
        given = {}
    return Wanted(input=given, webhook=body.webhook, policy=body.policy)


def read_wait(request: Request) -> float:
    """Return `?wait=` [s], at most 90 s. Raises InvalidError: it is no number of milliseconds."""
    text = request.query_params.get("wait")
    if text is None:
        return DEFAULT_WAIT_MS / 1000
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidError(422, "the request is not valid", problems=(("wait", "not a number of milliseconds"),))
    return min(int(text), MAX_WAIT_MS) / 1000


def split_message(text: str) -> tuple[str, str]:
    """Split msgspec's message into what is wrong and where: `$.policy.ttl` becomes `policy.ttl`."""
    message, _, path = text.partition(" - at `")
    return message, path.rstrip("`").removeprefix("$").removeprefix(".") or "body"
