"""Asks several questions at once and waits for each up to its deadline.

The threads are daemons: one that waits for a dead network disk cannot be ended, and must not keep the process alive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Answer = TypeVar("Answer")


def ask_all(questions: Mapping[str, tuple[Callable[[], Answer], float]]) -> dict[str, Answer]:
    """Ask all at once, each in a thread of its own, and return the answers by name; late answers are left out.

    Args:
        questions: name → (what is called, how long it may take [s]). What is called raises nothing.
    """
    answers: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()

    def ask(name: str, question: Callable[[], Answer]) -> None:
        answers.put((name, question()))

    begun = time.monotonic()
    for name, (question, _) in questions.items():
        threading.Thread(target=ask, args=(name, question), name=f"health-{name}", daemon=True).start()
    waiting = {name: begun + seconds for name, (_, seconds) in questions.items()}
    found: dict[str, Answer] = {}
    while waiting:
        try:
            name, answer = answers.get(timeout=max(0.0, min(waiting.values()) - time.monotonic()))
        except queue.Empty:
            now = time.monotonic()
            waiting = {name: until for name, until in waiting.items() if until > now}
            continue
        if waiting.pop(name, None) is not None:
            found[name] = answer
    return found
