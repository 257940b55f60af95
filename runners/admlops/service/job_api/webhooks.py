"""Webhooks: the body of /status, sent to the address that a job named, at the job's end."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time

import httpcore
import msgspec
from starlette.concurrency import run_in_threadpool

from admlops import __version__
from admlops.core.addresses import redact
from admlops.core.errors import AdmlopsError
from admlops.downloads.public_addresses import AsyncPublicBackend, is_private_address
from admlops.service.context import Service
from admlops.service.job_api.answers import show_job
from admlops.service.queue.job import Job

log = logging.getLogger(__name__)

ASK_S = 0.5
"""How often the queue is asked for webhooks that are due; it decides about further tries."""
ANSWER_S = 15.0
AT_A_TIME = 8
SIGNATURE = "x-admlops-signature"


class Webhooks:
    """Sends what is due, one task each, until it is cancelled."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._private = service.settings.allow_private_addresses

    async def send_all(self) -> None:
        """Send what is due, again and again."""
        places = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                job = await self._claim()
                if job is None:
                    places.release()
                    await asyncio.sleep(ASK_S)
                else:
                    group.create_task(self._send(job)).add_done_callback(lambda _: places.release())

    async def _claim(self) -> Job | None:
        try:
            return await run_in_threadpool(self._service.queue.claim_webhook)
        except AdmlopsError as error:  # the database is away for a moment
            log.warning("%s", error.message)
            return None

    async def _send(self, job: Job) -> None:
        assert job.webhook is not None
        outcome: object
        try:
            async with asyncio.timeout(ANSWER_S):
                outcome = await self._post(job.webhook, msgspec.json.encode(show_job(job)))
        except TimeoutError:
            outcome = f"no answer within {ANSWER_S:g} s"
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            outcome = "private address" if is_private_address(error) else type(error).__name__
        except ValueError:
            outcome = "not an address"
        if outcome == 200:
            await run_in_threadpool(self._service.queue.webhook_delivered, job)
        self._service.audit.write(
            who="webhook", what=f"POST {redact(job.webhook)}", outcome=outcome, job=job.id, tries=job.webhook_tries
        )

    async def _post(self, url: str, body: bytes) -> int:
        """Send it and return the answer's status; a redirect is not followed, its status is no 200."""
        headers = {"content-type": "application/json", "user-agent": f"admlops/{__version__}"}
        secret = self._service.settings.webhook_secret
        if secret is not None:
            headers[SIGNATURE] = sign(secret, body, int(time.time()))
        backend = None if self._private else AsyncPublicBackend()
        async with (
            httpcore.AsyncConnectionPool(network_backend=backend) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
        ):
            return response.status


def sign(secret: bytes, body: bytes, at: int) -> str:
    """Return `t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body", in hexadecimal>`.

    Who receives it computes the same, compares in constant time, and refuses an old `t`.
    """
    return f"t={at},v1={hmac.new(secret, b'%d.' % at + body, hashlib.sha256).hexdigest()}"
