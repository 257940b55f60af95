"""The hub: one look for all readers, parts that changed alone, and what a reader that comes back gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import pytest

from admlops.service.dashboard.live import hub as hub_module
from admlops.service.dashboard.live.hub import Hub
from admlops.service.watcher import JobWatcher


class Watcher:
    """Stands for the service's watcher: the test says when a job changes."""

    def __init__(self) -> None:
        self.events: list[asyncio.Event] = []

    @contextmanager
    def watch(self, _job: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self.events.append(event)
        yield event

    def tell(self) -> None:
        for event in self.events:
            event.set()


class Counting:
    """A view with two parts and a log, which counts how often it was asked."""

    tick_s = 30.0
    job = None

    def __init__(self) -> None:
        self.asked = 0
        self.count = 0
        self.log: list[str] = []

    def parts(self) -> Mapping[str, str]:
        self.asked += 1
        clock = f'<time datetime="2026-01-01">{self.asked} seconds ago</time>'
        return {"count": f"{self.count} {clock}", "still": "as it was"}

    def lines(self) -> Sequence[str]:
        new, self.log = self.log, []
        return new


class Scene:
    """A hub with one view."""

    def __init__(self) -> None:
        self.watcher = Watcher()
        self.stopping = asyncio.Event()
        self.hub = Hub(cast("JobWatcher", self.watcher), self.stopping)
        self.view = Counting()

    def read(self, last_id: str = "") -> AsyncIterator[str]:
        return self.hub.stream("view", lambda: self.view, last_id)


def play(test: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a test in a loop of its own, and stop the hub after it."""

    async def run() -> None:
        scene = Scene()
        try:
            async with asyncio.timeout(60):
                await test(scene)
        finally:
            scene.stopping.set()
            await asyncio.gather(*(topic.task for topic in scene.hub.topics.values() if topic.task))

    asyncio.run(run())


def id_of(event: str) -> str:
    return event.partition("\n")[0].removeprefix("id: ")


def test_fifty_readers_are_one_look_at_the_queue_and_one_rendering() -> None:
    async def test(scene: Scene) -> None:
        readers = [scene.read() for _ in range(50)]
        first = await asyncio.gather(*(anext(reader) for reader in readers))
        assert len(set(first)) == 1
        assert "0 <time" in first[0]
        scene.view.count = 1
        scene.watcher.tell()
        second = await asyncio.gather(*(anext(reader) for reader in readers))
        assert len(set(second)) == 1
        assert "1 <time" in second[0]
        assert scene.view.asked == 2
        assert len(scene.watcher.events) == 1

    play(test)


def test_what_did_not_change_is_not_sent_and_a_clock_is_no_change() -> None:
    async def test(scene: Scene) -> None:
        reader = scene.read()
        first = await anext(reader)
        assert "as it was" in first
        scene.watcher.tell()  # a look that finds only the clock turned
        while scene.view.asked < 2:
            await asyncio.sleep(0.01)
        scene.view.count = 5
        scene.watcher.tell()
        second = await anext(reader)
        assert "5 <time" in second
        assert "as it was" not in second

    play(test)


def test_a_reader_that_comes_back_gets_what_it_lacks_and_of_another_process_everything_once() -> None:
    async def test(scene: Scene) -> None:
        reader = scene.read()
        known = id_of(await anext(reader))
        scene.view.count = 7
        scene.view.log = ["a line"]
        scene.watcher.tell()
        await anext(reader)
        lacking = await anext(scene.read(known))
        assert "7 <time" in lacking
        assert "a line" in lacking
        assert "beforeend" in lacking
        assert "as it was" not in lacking
        for stranger in ("00000000-1", "nonsense", f"{scene.hub.boot}-999999"):
            whole = await anext(scene.read(stranger))
            assert "as it was" in whole
            assert 'hx-swap="innerHTML"' in whole

    play(test)


def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "KEEP_ALIVE_S", 0.05)

    async def test(scene: Scene) -> None:
        reader = scene.read()
        assert (await anext(reader)).startswith("id: ")
        assert await anext(reader) == ": keep-alive\n\n"

    play(test)


def test_streams_end_when_the_service_stops_and_a_topic_goes_with_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "LINGER_S", 0.05)
    monkeypatch.setattr(hub_module, "AT_LEAST_S", 0.01)

    async def test(scene: Scene) -> None:
        scene.view.tick_s = 0.02
        reader = scene.read()
        await anext(reader)
        assert list(scene.hub.topics) == ["view"]
        await cast("AsyncGenerator[str]", reader).aclose()
        while scene.hub.topics:
            await asyncio.sleep(0.01)
        again = scene.read()
        await anext(again)
        scene.stopping.set()
        with pytest.raises(StopAsyncIteration):
            await anext(again)

    play(test)


def test_a_page_that_keeps_no_connection_gets_the_same() -> None:
    async def test(scene: Scene) -> None:
        text, known = await scene.hub.ask("view", lambda: scene.view, "")
        assert "as it was" in text
        assert await scene.hub.ask("view", lambda: scene.view, known) == ("", known)

    play(test)
