"""RunPod's own Python client against a service; run by an interpreter that has `runpod`. Prints what came as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp
import runpod
from runpod import AsyncioEndpoint, AsyncioJob


def main() -> None:
    """Call everything that the client has; the arguments are key, endpoint and the input as JSON."""
    key, name, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    runpod.api_key = key
    endpoint = runpod.Endpoint(name)
    job = endpoint.run({"input": given})
    if "--once" in sys.argv:
        print(json.dumps({"stream": list(job.stream()), "output": job.output(timeout=200)}))
        return
    found: dict[str, Any] = {"id": job.job_id, "output": job.output(timeout=120), "status": job.status()}
    found["run_sync"] = endpoint.run_sync({"input": given}, timeout=120)
    found["stream"] = list(endpoint.run({"input": given}).stream())
    found["empty"] = _error_of(lambda: endpoint.run({"input": {}}))
    if "--stand-in" in sys.argv:
        waiting = endpoint.run({"input": {**given, "limit": 99}})
        found["cancel"] = waiting.cancel()
        found["cancelled_stream"] = list(waiting.stream())
        found["cancelled"] = waiting.status()
        found["failed"] = endpoint.run_sync({"input": {**given, "limit": 98}}, timeout=120)
    found["purge"] = endpoint.purge_queue()
    found["health"] = endpoint.health()
    found["asyncio"] = asyncio.run(_use_asyncio(name, given))
    runpod.api_key = "a-key-that-is-wrong"
    found["wrong_key"] = _error_of(lambda: runpod.Endpoint(name, api_key="a-key-that-is-wrong").health())
    print(json.dumps(found))


async def _use_asyncio(name: str, given: dict[str, Any]) -> Any:
    async with aiohttp.ClientSession() as session:
        job: AsyncioJob = await AsyncioEndpoint(name, session).run(given)
        return {"output": await job.output(timeout=120), "status": await job.status()}


def _error_of(call: Any) -> str | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises is what the test looks at
        return f"{type(error).__name__}: {error}"
    return None


main()
