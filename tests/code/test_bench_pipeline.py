"""The benchmark of the pipeline counts the seconds in which anything fits or predicts, each second once."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import pipeline

MODULE = """
class Pipeline:
    def fit(self): clock.now += 3
    def score(self): clock.now += 5
"""


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pipeline, "time", clock)
    return clock


def test_only_what_is_measured_counts_and_from_its_import_on(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_for_this.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipeline, "MEASURED", {"made_for_this": ("Pipeline", "fit")})
    measured = pipeline.Measured()
    monkeypatch.setattr(sys, "meta_path", [measured, *sys.meta_path])
    made = importlib.import_module("made_for_this")
    monkeypatch.setattr(made, "clock", clock, raising=False)
    made.Pipeline().fit()
    made.Pipeline().score()
    assert (measured.spent, clock.now) == (3.0, 8.0)


def test_two_at_the_same_time_count_once(clock: Clock) -> None:
    measured = pipeline.Measured()
    for now, step in ((0, 1), (1, 1), (3, -1), (4, -1), (10, 1), (11, -1)):
        clock.now = now
        measured._count(step)
    assert measured.spent == 5.0
