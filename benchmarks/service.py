"""What the job API costs beside a plain Starlette application: /status at a steady rate while others wait.

    python benchmarks/service.py [--seconds 60] [--rate 200] [--readers 50] [--json]

Both sides are real servers on the loopback with the same load: `--readers` connections that wait, and `--rate`
requests of /status a second, begun at fixed times whatever the answers do, so that a wait counts for all requests that
it delays. Of the service's readers a third keep the dashboard's overview open by server-sent events, a third wait by
/status-sync and a third by /stream, while a job comes into the queue every second, which changes the overview. The
other side answers a constant and lets readers wait 5 s. Bars: no error, p99 under 100 ms, and memory that stays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

CONNECTIONS = 20
WARM_UP_S = 5.0
MB = 1e6
PLAIN = """
import asyncio, socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def constant(request):
    return JSONResponse({"id": "job", "status": "IN_QUEUE"})

async def wait(request):
    await asyncio.sleep(5)
    return JSONResponse({"id": "job", "status": "IN_QUEUE", "stream": []})

base = "/v2/run"
app = Starlette(routes=[Route(base + "/status/{job}", constant), Route(base + "/status-sync/{job}", wait),
                        Route(base + "/stream/{job}", wait)])
uvicorn.Server(uvicorn.Config(app, loop="asyncio", http="h11", access_log=False, log_level="error")).run(
    sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side. Latencies in ms; CPU time of the server a request of /status, all else that it
    does included, in ms; memory in 10^6 bytes: when the load began, in its middle and at its end."""

    side: str
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    cpu_ms: float
    memory_mb: tuple[float, float, float]
    reads: int
    events: int


@dataclass(frozen=True, kw_only=True)
class Side:
    """A server that runs."""

    name: str
    port: int
    job: str
    token: str
    pid: int


@contextmanager
def plain() -> Iterator[Side]:
    """Run the application that answers a constant."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        command = [sys.executable, "-c", PLAIN, str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=(listening.fileno(),))
        try:
            yield Side(name="plain", port=listening.getsockname()[1], job="job", token="none", pid=process.pid)
        finally:
            process.kill()
            process.wait()


@contextmanager
def service(folder: Path) -> Iterator[Side]:
    """Run the service without runners, with one job that waits."""
    token = secrets.token_hex(16)
    file = folder / "tokens"
    file.touch(mode=0o600)
    file.write_text(f"run {token}\n")
    command = [sys.executable, "-m", "admlops", "serve", "--json", "--port", "0", "--runners", "0"]
    process = subprocess.Popen(
        [*command, "--database", str(folder / "jobs.sqlite3"), "--token-file", file],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ADMLOPS_REP_PATH": str(folder)},
    )
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        answer = httpx.post(
            f"{url}/v2/run/run",
            json={"input": {"model": "GroundPlane"}},
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
        )
        port = int(url.rpartition(":")[2])
        yield Side(name="service", port=port, job=answer.json()["id"], token=token, pid=process.pid)
    finally:
        process.terminate()
        process.wait()


class Connection:
    """One connection that is kept; requests go over it one after the other."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> bool:
        """Ask for a path below the endpoint; tells whether the answer was a 200."""
        reader, lines = await self._ask(f"GET /v2/run/{path}")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return b" 200 " in lines[0]

    async def events(self, path: str) -> AsyncIterator[bytes]:
        """Give each line of an event stream that has data."""
        reader, lines = await self._ask(f"GET {path}")
        if b" 200 " not in lines[0]:
            raise ValueError(lines[0])
        while line := await reader.readline():
            if line.startswith(b"data:"):
                yield line

    async def submit(self) -> bool:
        """Put a job into the queue, which changes what the dashboard shows."""
        body = json.dumps({"input": {"model": "GroundPlane"}}).encode()
        reader, lines = await self._ask("POST /v2/run/run", body)
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return b" 200 " in lines[0]

    async def _ask(self, line: str, body: bytes = b"") -> tuple[asyncio.StreamReader, list[bytes]]:
        """Send a request; returns the reader at the answer's body, and the lines before it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._side.port)
        reader, writer = self._streams
        head = [
            f"{line} HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {self._side.token}",
            *([f"content-length: {len(body)}", "content-type: application/json"] if body else []),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        return reader, (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Load:
    """The load on one side, and what came of it."""

    def __init__(self, side: Side, rate: float) -> None:
        self._side = side
        self._rate = rate
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        self.latencies: list[float] = []
        self.errors = 0
        self.reads = 0
        self.events = 0
        self.cpu_s = 0.0

    async def run(self, seconds: float, readers: int) -> tuple[float, float, float]:
        """Put the load on for so long; returns the server's memory at the begin, in the middle and at the end."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(Connection(self._side))
        waiting = [asyncio.create_task(self._read(number, WARM_UP_S * number / readers)) for number in range(readers)]
        if self._side.name == "service":
            waiting.append(asyncio.create_task(self._change()))
        server = psutil.Process(self._side.pid)
        await self._ask(WARM_UP_S)
        self.latencies.clear()
        memory, busy = [server.memory_info().rss / MB], _busy_s(server)
        for _ in range(2):
            await self._ask(seconds / 2)
            memory.append(server.memory_info().rss / MB)
        self.cpu_s = _busy_s(server) - busy
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return memory[0], memory[1], memory[2]

    async def _ask(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began, asked = loop.time(), []
        for number in range(int(seconds * self._rate)):
            due = began + number / self._rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            asked.append(asyncio.create_task(self._status(due)))
        await asyncio.gather(*asked)

    async def _status(self, due: float) -> None:
        connection = await self._free.get()
        try:
            right = await connection.get(f"status/{self._side.job}")
        except (OSError, EOFError, ValueError, StopIteration):
            right = False
        self.latencies.append(asyncio.get_running_loop().time() - due)
        self.errors += not right
        self._free.put_nowait(connection)

    async def _read(self, number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        connection = Connection(self._side)
        path = f"status-sync/{self._side.job}?wait=5000" if number % 3 == 1 else f"stream/{self._side.job}"
        try:
            if self._side.name == "service" and number % 3 == 0:
                async for _ in connection.events("/live/overview"):
                    self.events += 1
                self.errors += 1  # it never ends by itself
                return
            while True:
                self.errors += not await connection.get(path)
                self.reads += 1
        except (OSError, EOFError, ValueError, StopIteration):
            self.errors += 1
        finally:
            connection.close()

    async def _change(self) -> None:
        connection = Connection(self._side)
        try:
            while True:
                await asyncio.sleep(1.0)
                self.errors += not await connection.submit()
        finally:
            connection.close()


def _busy_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(side: Side, seconds: float, rate: float, readers: int) -> Measured:
    """Put the load on one side."""
    load = Load(side, rate)
    memory = asyncio.run(load.run(seconds, readers))
    ordered = sorted(load.latencies)

    def share(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 2)

    return Measured(
        side=side.name,
        requests=len(ordered),
        errors=load.errors,
        p50_ms=share(0.5),
        p99_ms=share(0.99),
        longest_ms=share(1.0),
        cpu_ms=round(load.cpu_s * 1000 / len(ordered), 2),
        memory_mb=(round(memory[0], 1), round(memory[1], 1), round(memory[2], 1)),
        reads=load.reads,
        events=load.events,
    )


def main() -> None:
    """Measure both sides and print them, and how much longer the service takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = (options.seconds, options.rate, options.readers)
    with plain() as side:
        time.sleep(1.0)
        other = measure(side, *load)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as side:
        ours = measure(side, *load)
    if options.json:
        print(json.dumps([asdict(other), asdict(ours)], indent=2))
        return
    print(f"/status {options.rate:g} times a second for {options.seconds:g} s, beside {options.readers} who wait")
    print("side     requests errors  p50 ms  p99 ms  longest  CPU ms  memory in MB: begin, middle, end")
    for one in (other, ours):
        times = f"{one.p50_ms:7.2f} {one.p99_ms:7.2f} {one.longest_ms:8.2f}"
        memory = ", ".join(f"{value:g}" for value in one.memory_mb)
        print(f"{one.side:8} {one.requests:8} {one.errors:6} {times} {one.cpu_ms:7.2f}  {memory}")
    pairs = [("p50", ours.p50_ms, other.p50_ms), ("p99", ours.p99_ms, other.p99_ms), ("CPU", ours.cpu_ms, other.cpu_ms)]
    print("service : plain  " + ", ".join(f"{name} {mine / theirs:.1f} x" for name, mine, theirs in pairs))


if __name__ == "__main__":
    main()
