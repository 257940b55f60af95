"""admlops as a worker of RunPod's own serverless: `python runners/serverless_handler.py`.

It runs in an environment of its own that has `runpod` (tests/service/clients/runpod.txt locks one), in a checkout that
`make bootstrap` has set up. The checkout's `admlops serve` does the jobs, so inputs and outputs are those of a service.
Variables, beside those of RunPod:

- ADMLOPS_ENDPOINT: run (the default), compare, battle, evaluate or export; an input's own `endpoint` wins.
- ADMLOPS_COMMAND: the admlops command. [default: that of the checkout]
- ADMLOPS_DATA_ROOT: a folder below which jobs may name data, such as /runpod-volume/nuscenes.
- ADMLOPS_STREAM: 1 gives each whole scene to /stream. RunPod then makes `output` the list of these parts, of which the
  last one is what the output is otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import runpod

CHECKOUT = Path(__file__).resolve().parents[1]
KEPT_FROM_JOBS = ("RUNPOD_AI_API_KEY", "RUNPOD_API_KEY")
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
TIMEOUT = aiohttp.ClientTimeout(total=120)


class Service:
    """`admlops serve` on the loopback, which ends with this process."""

    def __init__(self) -> None:
        command = os.environ.get("ADMLOPS_COMMAND") or str(CHECKOUT / ".venv" / "bin" / "admlops")
        roots = ["--data-root", os.environ["ADMLOPS_DATA_ROOT"]] if os.environ.get("ADMLOPS_DATA_ROOT") else []
        token = secrets.token_hex(32)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tokens"
            file.touch(mode=0o600)
            file.write_text(f"run serverless {token}\n")
            self.process = subprocess.Popen(
                [command, "serve", "--json", "--port", "0", "--token-file", file, *roots],
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
                env={name: value for name, value in os.environ.items() if name not in KEPT_FROM_JOBS},
            )
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{command} serve ended with code {self.process.wait()}: its own words are above")
        self.url = json.loads(line)["url"]
        self.headers = {"authorization": f"Bearer {token}", "user-agent": "admlops-serverless"}

    def end(self) -> None:
        """Stop it; its job goes back into its queue."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(80)


SERVICE: Service
"""What does the jobs; it begins with the worker."""


async def parts_of(job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Do a job: give a part for each whole scene, and the output at the end.

    Raises:
        RuntimeError: it did not succeed; the message says why.
    """
    given = dict(job["input"])
    endpoint = given.pop("endpoint", None) or os.environ.get("ADMLOPS_ENDPOINT", "run")
    base = f"{SERVICE.url}/v2/{endpoint}"
    async with aiohttp.ClientSession(headers=SERVICE.headers, timeout=TIMEOUT) as session:
        begun = await _ask(session, "POST", f"{base}/run", {"input": given})
        try:
            while True:
                seen = await _ask(session, "GET", f"{base}/stream/{begun['id']}")
                for part in seen["stream"]:
                    yield part["output"]
                if seen["status"] in FINAL and not seen["stream"]:
                    break
        except (asyncio.CancelledError, GeneratorExit):  # RunPod stops a job by cancelling its task
            await asyncio.shield(_ask(session, "POST", f"{base}/cancel/{begun['id']}"))
            raise
        done = await _ask(session, "GET", f"{base}/status/{begun['id']}")
    if done["status"] != "COMPLETED":
        raise RuntimeError(done.get("error") or f"the job ended {done['status']}")
    yield done["output"]


async def _ask(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> dict[str, Any]:
    async with session.request(method, url, json=body) as response:
        answer = await response.json()
    if response.status != 200:
        where = "; ".join(f"{one['path']}: {one['message']}" for one in answer.get("errors", ()))
        raise RuntimeError(f"{answer['error']}{f' ({where})' if where else ''}")
    return dict(answer)


async def handler(job: dict[str, Any]) -> dict[str, Any]:
    """Answer with the output; parts become updates of the progress."""
    last: dict[str, Any] | None = None
    try:
        async for part in parts_of(job):
            if last is not None:
                runpod.serverless.progress_update(job, last)
            last = part
    except RuntimeError as error:
        return {"error": str(error)}
    assert last is not None
    return last


async def stream_handler(job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Give the parts as they come, and the output at the end."""
    try:
        async for part in parts_of(job):
            yield part
    except RuntimeError as error:
        yield {"error": str(error)}


if __name__ == "__main__":
    SERVICE = Service()
    streams = os.environ.get("ADMLOPS_STREAM") == "1"
    try:
        runpod.serverless.start({"handler": stream_handler if streams else handler, "return_aggregate_stream": streams})
    finally:
        SERVICE.end()
        sys.stdout.flush()
