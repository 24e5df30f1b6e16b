"""How long one row takes to answer: two models timed in turn, each in a process of its own."""

from pathlib import Path

import numpy as np

from pipelines.core.model import Inputs
from pipelines.judge.answers import Contained

ROWS = 300  # requests of one row, to each model in turn
TRIES = 3
Timed = tuple[Path, Inputs]  # a model's file, and rows to ask it


def measured(candidate: Timed, champion: Timed, limit: float) -> tuple[float, float]:
    """Median seconds of a request of one row, to the candidate and to the champion.

    Noise on a busy machine can slow one process for its whole life. So where the candidate takes more than
    `limit` times the champion's, both are timed twice more, in new processes, and the median ratio counts.
    answers.Failed where a model does not answer.
    """
    found = [_in_turn(candidate, champion)]
    if _ratio(found[0]) > limit:
        found += [_in_turn(candidate, champion) for _ in range(TRIES - 1)]
    return sorted(found, key=_ratio)[len(found) // 2]


def _ratio(seconds: tuple[float, float]) -> float:
    return seconds[0] / seconds[1]


def _in_turn(*timed: Timed) -> tuple[float, float]:
    """By the clocks of the processes: noise meets both alike."""
    models = [(Contained(path), inputs) for path, inputs in timed]
    taken: list[list[float]] = [[] for _ in models]
    for row in range(min(ROWS, *(len(values) for _, inputs in models for values in inputs.values()))):
        for seconds, (model, inputs) in zip(taken, models, strict=True):
            model.predict({name: values[row : row + 1] for name, values in inputs.items()})
            seconds.append(model.seconds)
    candidate, champion = (float(np.median(seconds)) for seconds in taken)
    return candidate, champion
