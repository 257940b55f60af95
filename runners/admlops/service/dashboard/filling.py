"""Keeps the result tables as the files on disk are, while the service runs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout
from admlops.service.queue.database import Database
from admlops.service.result_tables.fill import fill_tables
from admlops.service.watcher import ANY, JobWatcher

log = logging.getLogger(__name__)

OFTEN_S = 2.0
"""The least time between two looks at the folders, however often jobs change."""
REST = 10.0
"""The pause after a look, as a multiple of how long it took: thousands of folders on a slow volume take a while."""
SELDOM_S = 20.0
"""The most time between two looks: runs are also made by commands, which tell no queue."""


class Filler:
    """Fills the result tables at the start, when jobs change, and now and then."""

    def __init__(self, database: Database, layout: Layout, watcher: JobWatcher) -> None:
        self._database = database
        self._layout = layout
        self._watcher = watcher
        self._filling = asyncio.Lock()

    async def keep(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        with self._watcher.watch(ANY) as woken:
            while True:
                woken.clear()
                began = loop.time()
                try:
                    await self.fill()
                except AdmlopsError as error:
                    log.warning("the result tables are not up to date: %s", error.message)
                except Exception:  # a folder that nobody thought of must not end all later fills
                    log.exception("the result tables are not up to date")
                await asyncio.sleep(max(OFTEN_S, REST * (loop.time() - began)))
                try:
                    async with asyncio.timeout(SELDOM_S):
                        await woken.wait()
                except TimeoutError:
                    continue

    async def fill(self) -> None:
        """Read what changed. Raises StorageError: the database cannot be written."""
        async with self._filling:
            await run_in_threadpool(fill_tables, self._database, self._layout)

    async def fill_for(self, folder: Path) -> None:
        """Read what changed, if a folder is there that the tables may not know yet."""
        if folder.is_dir():
            await self.fill()
