"""What the dashboard's pages share."""

from __future__ import annotations

from dataclasses import dataclass

from admlops.core.paths import Layout
from admlops.service.context import Service
from admlops.service.dashboard.machine import Machine
from admlops.service.jobs.settings import JobSettings
from admlops.service.queue.database import Database
from admlops.service.queue.jobs import JobQueue


@dataclass(frozen=True, kw_only=True)
class Site:
    """The service, the folders, the queue with its database, and the machine."""

    service: Service
    layout: Layout
    queue: JobQueue
    machine: Machine

    @property
    def database(self) -> Database:
        """The database that holds the queue and the result tables."""
        return self.queue.database

    @property
    def job_settings(self) -> JobSettings:
        """What the operator allows jobs."""
        return self.service.settings.jobs
