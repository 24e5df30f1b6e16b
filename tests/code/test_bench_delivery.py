"""What the benchmark of delivery counts: stale answers, gaps, and the points where a deployer is killed."""

import os
import signal
import sys
from pathlib import Path

import pytest

from benchmarks import _host, _kills, _load, delivery
from benchmarks._host import Turn
from pipelines.edge.edge import Route
from pipelines.rollout.journal import Journal


def flip(confirmed: float, release: str, fallback: str | None = "green") -> Turn:
    return Turn(confirmed - 0.1, confirmed, Route("blue", release, fallback))


def answers(*of: tuple[float, str]) -> _load.Outcome:
    return _load.outcome([(at, 0.01, 200, "", release) for at, release in of])


TURNS = [flip(10, "one"), flip(11, "one", None), flip(20, "two"), flip(21, "two", None), flip(30, "three")]


def test_an_answer_of_the_release_before_is_stale_once_the_flip_is_confirmed() -> None:
    good = [(12.0, "one"), (19.95, "two"), (19.99, "one"), (20.1, "two"), (29.95, "three"), (31.0, "three")]
    assert delivery.stale(answers(*good), TURNS) == 0
    assert delivery.stale(answers(*good, (20.01, "one"), (31.0, "two")), TURNS) == 2


def test_a_journal_line_is_points_around_its_fsync_and_the_next_ones_belong_to_the_step(
    tmp_path: Path,
) -> None:
    seen: list[_kills.Point] = []
    journal = Journal(tmp_path)
    sys.setprofile(_kills.watcher(seen, None))
    try:
        journal.write("a", "intent", step="FLIP")
        journal.write("a", "fact", step="FLIP")
    finally:
        sys.setprofile(None)
    assert seen[0] == ("start", "journal.Journal.write", 1)
    assert {("FLIP", "before fsync", 1), ("FLIP", "after fsync", 1), ("FLIP", "after fsync", 2)} <= set(seen)
    assert ("FLIP", "journal.Journal.write", 1) in seen


def test_at_its_point_the_process_is_killed_and_the_line_is_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    child = os.fork()
    if not child:
        sys.setprofile(_kills.watcher([], ("FLIP", "journal.Journal.write", 1)))
        journal.write("a", "intent", step="FLIP")
        journal.write("a", "fact", step="FLIP")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [line["event"] for line in journal.read()] == ["intent"]


def test_points_on_disk_come_before_calls_and_a_move_is_killed_in_its_order() -> None:
    disk = [("FLIP", "before fsync", 1), ("FLIP", "after rename", 1), ("BAKE", "journal.Journal.write", 1)]
    calls = [("BAKE", f"checks.{name}", 1) for name in "abcdefgh"]
    assert _kills.spread([*calls, *disk], 3) == disk
    chosen = _kills.spread([*disk, *calls], 7)
    assert len(chosen) == 7 and set(disk) <= set(chosen)
    three = [("PREPARE", "a", 1), ("PREPARE", "b", 1), ("FLIP", "c", 1), ("FLIP", "d", 1), ("BAKE", "e", 1)]
    assert _kills.chains(three, 2) == [[three[0], three[2]], [three[1], three[3]], [three[4]]]
    assert _kills.chains(three, 1) == [[three[0]], [three[2]], [three[1]], [three[3]], [three[4]]]


def test_rates_of_the_callers_add_up() -> None:
    assert sum(_host.SHARES.values()) == pytest.approx(1)
