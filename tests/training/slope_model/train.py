"""Trains the one weight by stochastic gradient descent. `SLOPE_SLEEP` slows it, `SLOPE_NAN` makes a loss no number.

A teacher's score takes the place of its share of the label.
"""

import json
import math
import os
import random
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from demo import LOSSES, read_weight, write_weight

from worker.adapter import Adapter, Settings
from worker.training.session import Session

EPOCHS = 2


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """One sample a step: its features are 1 (label 1) and -1 (label 0), each a little off by chance."""
    session = Session(request)
    count = len(request["samples"])
    total = session.iterations or count * (session.epochs or EPOCHS)
    session.begin(iterations=total, per_epoch=count, batch=session.batch or 1, processes=1, libraries={})
    chance = random.Random(session.seed)
    weight, done = -1.0, 0
    if session.start.get("weights"):
        weight = read_weight(session.start["weights"])
    if session.resume is not None:
        kept = json.loads(Path(session.resume.state).read_text())
        weight, done = kept["weight"], kept["done"]
        version, words, gauss = kept["chance"]
        chance.setstate((version, tuple(words), gauss))
    distillation = session.distillation
    teacher = None if distillation is None else read_weight(distillation.teacher)
    reason = session.reason_to_stop(done)
    while reason is None:
        time.sleep(float(os.environ.get("SLOPE_SLEEP", "0")))
        feature, label = random.Random(chance.random()).choice([(1.0, 1.0), (-1.0, 0.0)])
        feature += chance.gauss(0.0, 0.1)
        score = 1 / (1 + math.exp(-weight * feature))
        if distillation is not None and teacher is not None:
            soft = 1 / (1 + math.exp(-teacher * feature / distillation.temperature))
            label += distillation.soft_share * (soft - label)
        loss = LOSSES[os.environ.get("SLOPE_LOSS", "log")](score, label)
        slope = (score - label) * feature
        weight -= (session.learning_rate or 0.1) * slope
        done += 1
        broken = os.environ.get("SLOPE_NAN") == str(done)
        session.tell_iteration(
            done,
            epoch=1 + (done - 1) // count,
            loss=math.nan if broken else loss,
            losses={"log": loss},
            grad_norm=abs(slope),
            learning_rate=session.learning_rate,
            time_s=0.01,
            data_time_s=0.001,
        )
        reason = session.reason_to_stop(done)
        if reason is not None or session.is_due(done):
            kept = {"weight": weight, "done": done, "chance": chance.getstate()}
            session.save(done, partial(write_weight, weight=weight), partial(_write, kept=kept))
    return session.end(done, reason)


def _write(path: str, kept: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(kept))
