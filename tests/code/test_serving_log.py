"""The prediction log: what it keeps, and that no caller ever waits for it."""

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.serving.log import DAYS, PredictionLog, days_kept
from tests.problems.parcels.columns import CONTRACT

SECRET = next(column for column in CONTRACT.raw if not column.loggable and not column.key)


def row(number: int) -> dict[str, Any]:
    values = {column.name: "X" if column.type == "category" else 1.0 for column in CONTRACT.features}
    return {**values, CONTRACT.key.name: f"event {number}", SECRET.name: "must not be kept"}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open()]


def test_each_prediction_is_a_line_with_what_may_be_kept(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, CONTRACT, release="r1", slot="blue")
    assert log.add("q1", [row(0), row(1)], [0.25, 0.75])
    log.close()
    first, second = lines(tmp_path)
    assert first.keys() == {"time", "request", "row", "release", "features", "key", "p"}
    assert (first["request"], first["row"], first["release"], first["p"]) == ("q1", 0, "r1", 0.25)
    assert (second["row"], second["key"], second["p"]) == (1, "event 1", 0.75)
    assert set(first["features"]) == {column.name for column in CONTRACT.loggable}
    assert first["time"].endswith("+00:00")


def test_answers_to_copies_of_requests_say_so_and_productions_lines_do_not(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, CONTRACT, release="r1")
    log.add("q1", [row(0), row(1)], [0.25, 0.75], shadow=True)
    log.add("q2", [row(2)], [0.5])
    log.close()
    first, second, served = lines(tmp_path)
    assert first["shadow"] is second["shadow"] is True
    assert "shadow" not in served


def test_what_may_not_be_kept_is_not(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, CONTRACT, release="r1")
    log.add("q1", [row(0)], [0.5])
    log.close()
    (path,) = tmp_path.glob("*.jsonl")
    assert "must not be kept" not in path.read_text()


def test_a_file_is_named_by_day_slot_and_process(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "made", CONTRACT, release="r1", slot="green")
    log.add("q1", [row(0)], [0.5])
    log.close()
    (path,) = (tmp_path / "made").glob("*.jsonl")
    day, slot, process, _ = path.name.split(".")
    assert (day, slot, process.isdigit()) == (lines(tmp_path / "made")[0]["time"][:10], "green", True)


def test_days_that_are_no_longer_kept_are_deleted_where_a_file_begins(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    names = {age: f"{today - timedelta(days=age)}.blue.7.jsonl" for age in (1, 3, 4, 500)}
    others = ["notes.txt", "2013-01-01.txt", "old.jsonl"]
    for name in [*names.values(), *others]:
        (tmp_path / name).write_text("")
    log = PredictionLog(tmp_path, CONTRACT, release="r1", days=3)
    log.add("q1", [row(0)], [0.5])
    log.close()
    left = {path.name for path in tmp_path.iterdir()} - {f"{today}.none.{os.getpid()}.jsonl"}
    assert left == {names[1], names[3], *others}
    assert lines(tmp_path)[-1]["request"] == "q1"


def test_how_many_days_are_kept_is_a_number_of_days() -> None:
    assert days_kept(None) == days_kept("") == DAYS and days_kept("90") == 90
    for wrong in ("0", "-1", "90 days", "1e3", "1234567"):
        with pytest.raises(UserError, match=r"GREENLIGHT_PREDICTION_DAYS is .* a whole number of days"):
            days_kept(wrong)


def test_lines_are_written_without_waiting_for_the_end(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, CONTRACT, release="r1", every=0.05)
    log.add("q1", [row(0)], [0.5])
    until = time.monotonic() + 20
    while not lines(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(lines(tmp_path)) == 1
    log.close()


def test_a_full_queue_drops_and_counts_and_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[int] = []
    disk, append = threading.Event(), PredictionLog._append

    def stuck(log: PredictionLog, day: str, written: bytes) -> None:
        disk.wait(30)
        append(log, day, written)

    monkeypatch.setattr(PredictionLog, "_append", stuck)
    log = PredictionLog(tmp_path, CONTRACT, release="r1", dropped=dropped.append, capacity=10, every=60)
    taken = [log.add(str(n), [row(n)] * 2, [0.5] * 2) for n in range(20)]
    assert True in taken and taken[-1] is False
    assert sum(dropped) == 2 * taken.count(False) > 0
    disk.set()
    log.close()
    assert len(lines(tmp_path)) == 2 * taken.count(True), "what was taken is written"


def test_a_disk_that_refuses_is_counted_and_survived(tmp_path: Path, capsys) -> None:
    dropped: list[int] = []
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    log = PredictionLog(blocked, CONTRACT, release="r1", dropped=dropped.append, every=0.01)
    for number in range(3):
        log.add(str(number), [row(number)], [0.5])
        until = time.monotonic() + 20
        while len(dropped) <= number and time.monotonic() < until:
            time.sleep(0.01)
    assert sum(dropped) == 3
    blocked.unlink()
    log.add("last", [row(9)], [0.5])
    log.close()
    assert [line["request"] for line in lines(blocked)] == ["last"]
    assert capsys.readouterr().err.count("cannot be logged") == 1


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    dropped: list[int] = []
    log = PredictionLog(tmp_path, CONTRACT, release="r1", dropped=dropped.append)
    log.close()
    assert not log.add("late", [row(0)], [0.5])
    assert dropped == [1]
