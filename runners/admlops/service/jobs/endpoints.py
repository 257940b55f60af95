"""The endpoints: what a job can be asked to do. One file each, and one line here, or one `register` of an extension."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from admlops.core.paths import Layout
from admlops.core.registry import Registry
from admlops.service.jobs.inputs import Input, decode_input, schema_of
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[Input]):
    """Something that a job can do.

    Attributes:
        id: its name in addresses.
        title: what it does, in a line.
        shape: the shape of its input.
        check: checks an input against this machine (`checks.py` helps), before the job is queued and again before it is
            done; raises AdmlopsError.
        work: does it, in a process of its own, and returns the output, a JSON object. It may be killed at any time and
            is then called again with `Work.job.attempt` one greater: it goes on where it was.
    """

    id: str
    title: str
    shape: type[Input]
    check: Callable[[Layout, JobSettings, Input], None]
    work: Callable[[Work, Input], Mapping[str, Any]]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its input."""
        return schema_of(self.shape)

    def decode(self, given: Any) -> Input:
        """Return an input of the endpoint's shape. Raises UsageError: it has another."""
        return decode_input(self.shape, given, endpoint=self.id)


ENDPOINTS: Registry[Endpoint[Any]] = Registry(
    "endpoint",
    {
        "run": "admlops.service.jobs.run:RUN",
        "compare": "admlops.service.jobs.compare:COMPARE",
        "battle": "admlops.service.jobs.battle:BATTLE",
        "evaluate": "admlops.service.jobs.evaluate:EVALUATE",
        "export": "admlops.service.jobs.export:EXPORT",
    },
)


def check_input(layout: Layout, settings: JobSettings, endpoint: str, given: Any) -> None:
    """Refuse an input that its job could not be done with, before it is queued.

    Raises:
        AdmlopsError: there is no such endpoint, or the input is wrong; the message names the key.
    """
    own = ENDPOINTS.get(endpoint)
    own.check(layout, settings, own.decode(given))
